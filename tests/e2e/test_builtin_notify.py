"""`notify`: what each chat service is sent, and that nothing of an event can act there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from receiver.outbound import FailedAnswer, Refused
from tests.support.builtin import Site, builtin, mistakes
from tests.support.klen import webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOSTILE = "<!channel> @everyone <@U1> [x](http://evil.example) *b* `c` & \u202e\n> quoted"
CALL = b'{"event_type": "call.ended", "call": {"id": 1, "phone_number": "+15550100", "summary": "fine"}}'


@pytest.fixture(name="site")
async def _site() -> AsyncIterator[Site]:
    async with Site().running() as site:
        yield site


def table(site: Site, kind: str, template: str = "", more: str = "") -> str:
    text = f"template = {json.dumps(template)}\n" if template else ""
    return f'[handlers.notify]\nkind = "{kind}"\nurl = "{site.url}/T0/secret"\n{text}{more}'


async def sent(site: Site, folder: Path, toml: str, body: bytes) -> Any:
    async with builtin(folder, toml) as notify:
        await notify(body)
    return json.loads(site.requests[-1].body)


async def test_slack(tmp_path: Path, site: Site) -> None:
    """The template's markup stays, a value's becomes plain characters, and Slack is told to add none."""
    message = await sent(
        site, tmp_path, table(site, "slack", "*New* <!here>: $title"), webhook(title=HOSTILE)
    )

    text = "*New* <!here>: &lt;!channel&gt; @everyone &lt;@U1&gt; [x](http://evil.example) *b* `c` &amp; &gt; quoted"
    assert message == {
        "text": text,
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


async def test_discord(tmp_path: Path, site: Site) -> None:
    """Marks of a value are escaped, and nobody is mentioned whatever the text is."""
    message = await sent(site, tmp_path, table(site, "discord", "**New** $title"), webhook(title=HOSTILE))

    assert message == {
        "content": r"**New** \<!channel\> \@everyone \<\@U1\> \[x\]\(http\://evil.example\) \*b\* \`c\` & \> quoted",
        "allowed_mentions": {"parse": []},
        "flags": 4,
    }


async def test_teams(tmp_path: Path, site: Site) -> None:
    """An Adaptive Card with a block for each line of the template; text runs know no markup."""
    message = await sent(site, tmp_path, table(site, "teams", "New\n\n$title"), webhook(title=HOSTILE))

    (attachment,) = message["attachments"]
    assert (message["type"], attachment["contentType"]) == (
        "message",
        "application/vnd.microsoft.card.adaptive",
    )
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert [block["type"] for block in card["body"]] == ["RichTextBlock"] * 2
    assert [block["inlines"][0]["text"] for block in card["body"]] == [
        "New",
        " ".join(HOSTILE.replace("\u202e", " ").split()),
    ]


async def test_every_name_has_a_value(tmp_path: Path, site: Site) -> None:
    """Times are in the operator's zone; what an event does not have is `-`."""
    names = "$event_type|$title|$start|$end|$customer_name|$customer_email|$location|$agent|$$5"
    toml = table(site, "teams", names, 'timezone = "Europe/Berlin"\nevents = ["*"]')
    body = webhook(ai_agent={"name": "Scheduler"})

    def text(message: Any) -> str:
        return str(message["attachments"][0]["content"]["body"][0]["inlines"][0]["text"])

    assert text(await sent(site, tmp_path, toml, body)) == (
        "calendar.created|Client Meeting|2025-05-01 16:00 CEST|2025-05-01 17:00 CEST|"
        "John Smith|john.smith@example.com|-|Scheduler|$5"
    )
    assert text(await sent(site, tmp_path, toml, b'{"event_type": "new", "call": "abc"}')) == (
        "new|-|-|-|-|-|-|-|$5"
    )
    called = table(site, "teams", "$phone_number $summary $title", 'events = ["call.*"]')
    assert text(await sent(site, tmp_path, called, CALL)) == "+15550100 fine -"
    late = webhook(start_time="9999-12-31T23:30:00Z")
    assert "9999-12-31 23:30" in text(await sent(site, tmp_path, toml, late))


@pytest.mark.parametrize(("kind", "limit"), [("slack", 3_000), ("discord", 2_000), ("teams", 2_000)])
async def test_long_texts_are_cut(tmp_path: Path, site: Site, kind: str, limit: int) -> None:
    """A value and the whole text stay within what the service takes, in any script."""
    body = webhook(title="😀" * 50_000)
    message = await sent(site, tmp_path, table(site, kind, "$title " * 30), body)

    text = {
        "slack": lambda: message["blocks"][0]["text"]["text"],
        "discord": lambda: message["content"],
        "teams": lambda: message["attachments"][0]["content"]["body"][0]["inlines"][0]["text"],
    }[kind]()
    assert len(text) == limit
    assert len(site.requests[-1].body) < 28_000 or kind != "teams"


async def test_other_events_are_left_alone(tmp_path: Path, site: Site) -> None:
    """By default only calendar events are told."""
    async with builtin(tmp_path, table(site, "slack")) as notify:
        await notify(CALL)
        await notify(b"{}")

    assert site.requests == []


async def test_a_refusal_is_a_failure_that_keeps_the_secret(tmp_path: Path, site: Site) -> None:
    """A status that is no success fails the attempt, with the service's wish to wait and without the address."""
    site.statuses = {"/T0/secret": 429}
    site.headers = {"Retry-After": "7"}
    async with builtin(tmp_path, table(site, "discord")) as notify:
        with pytest.raises(FailedAnswer) as failed:
            await notify(webhook())
    async with builtin(tmp_path, table(site, "discord"), allow=()) as notify:
        with pytest.raises(Refused):
            await notify(webhook())

    assert failed.value.retry_after == 7
    assert "secret" not in str(failed.value)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (
            'template = "$titel"',
            "handlers.notify.template: there is no $titel; a template may use event_type,",
        ),
        ('template = "5 $ each"', "handlers.notify.template: a $ is followed by no name"),
        ('template = "${title.__class__}"', "handlers.notify.template: a $ is followed by no name"),
        ('timezone = "Mars/Base"', "handlers.notify.timezone: expected a time zone such as"),
        ('timezone = "../../etc/passwd"', "handlers.notify.timezone: expected a time zone such as"),
        ('kind = "irc"', "handlers.notify.kind: expected 'slack', 'teams' or 'discord'"),
        ('url = "hidden"', "handlers.notify.url: expected the address that"),
    ],
)
def test_mistakes_are_told_at_the_start(tmp_path: Path, toml: str, words: str) -> None:
    """A wrong setting is named by its key, and the address is never quoted."""
    usual = {"kind": 'kind = "slack"', "url": 'url = "https://example.com"'}
    usual[toml.partition(" ")[0]] = toml
    (mistake,) = mistakes(tmp_path, "[handlers.notify]\n" + "\n".join(usual.values()))
    assert mistake.startswith(words)
    assert "hidden" not in mistake
