"""`forward`: what it sends, and what it makes of the answers, against a server on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from receiver.outbound import FailedAnswer, Refused
from receiver.signing import Verifier
from tests.support.builtin import EVENT_ID, Site, builtin, mistakes
from tests.support.klen import UUID, webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "whsec_dGVzdC1vbmx5LWZvcndhcmRpbmcta2V5"


@pytest.fixture(name="site")
async def _site() -> AsyncIterator[Site]:
    async with Site().running() as site:
        yield site


async def test_the_event_is_sent_as_it_came(tmp_path: Path, site: Site) -> None:
    """The body is the vendor's JSON; the ids are the run's idempotency key; without a secret nothing is signed."""
    async with builtin(tmp_path, f'[handlers.forward]\nurls = ["{site.url}/a?token=x"]') as forward:
        await forward(webhook(extra={"more": [1.5, None]}, title="Tür \\ud800"))

    (request,) = site.requests
    assert json.loads(webhook(extra={"more": [1.5, None]}, title="Tür \\ud800")) == json.loads(request.body)
    assert request.headers["content-type"] == "application/json"
    assert f"{EVENT_ID}:forward" == request.headers["webhook-id"] == request.headers["idempotency-key"]
    assert "webhook-signature" not in request.headers


async def test_a_signature_is_made_anew_for_each_attempt(tmp_path: Path, site: Site) -> None:
    """Each attempt verifies as Standard Webhooks at its own time, under the same id."""
    toml = f'[handlers.forward]\nurls = ["{site.url}"]\nsecret = "{SECRET}"'
    async with builtin(tmp_path, toml) as forward:
        with pytest.MonkeyPatch.context() as moved:
            for now in (1_000_000_000, 1_000_050_000):
                moved.setattr("time.time", lambda now=now: now + 0.5)
                await forward(webhook())

    first, second = site.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    for request, now in ((first, 1_000_000_000), (second, 1_000_050_000)):
        assert Verifier("standard-webhooks", [SECRET]).verify(
            CIMultiDict(request.headers), request.body, now=now
        )


async def test_a_cloud_event_holds_the_event(tmp_path: Path, site: Site) -> None:
    """Structured mode: the required attributes, the vendor's time and uuid, the vendor's JSON as data."""
    toml = f'[handlers.forward]\nurls = ["{site.url}"]\nformat = "cloudevents"'
    async with builtin(tmp_path, toml) as forward:
        await forward(webhook("calendar.updated"))
        await forward(b'{"event_type": "odd\\u0000\\ud800"}')
        await forward(b"[]")

    known, odd, typeless = (json.loads(request.body) for request in site.requests)
    assert known == {
        "specversion": "1.0",
        "id": EVENT_ID,
        "source": "/sources/klen",
        "type": "ai.klen.calendar.updated",
        "subject": UUID,
        "time": "2025-05-01T10:15:30+00:00",
        "datacontenttype": "application/json",
        "data": json.loads(webhook("calendar.updated")),
    }
    assert site.requests[0].headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert odd["type"].startswith("ai.klen.odd")
    assert odd["type"].isprintable()
    assert (typeless["type"], typeless["data"]) == ("ai.klen.unknown", [])
    assert "subject" not in typeless


async def test_other_events_are_left_alone(tmp_path: Path, site: Site) -> None:
    """Only events that match one of the globs are sent; an event without a type matches `*` alone."""
    toml = f'[handlers.forward]\nurls = ["{site.url}"]\nevents = ["calendar.c*", "call.ended"]'
    async with builtin(tmp_path, toml) as forward:
        for kind in ("calendar.created", "calendar.updated", "CALENDAR.CREATED", "call.ended"):
            await forward(webhook(kind))
        await forward(b"{}")

    assert [json.loads(request.body)["event_type"] for request in site.requests] == [
        "calendar.created",
        "call.ended",
    ]


async def test_one_failing_address_fails_the_run_and_keeps_no_other_waiting(
    tmp_path: Path, site: Site
) -> None:
    """Every address is asked; the error has the server's wish to wait, and names no path."""
    site.statuses = {"/secret-path": 503}
    site.headers = {"Retry-After": "120"}
    urls = f'["{site.url}/secret-path", "{site.url}/good"]'
    async with builtin(tmp_path, f"[handlers.forward]\nurls = {urls}") as forward:
        with pytest.raises(FailedAnswer) as failed:
            await forward(webhook())

    assert {"/secret-path", "/good"} == {request.path for request in site.requests}
    assert (failed.value.status, failed.value.retry_after) == (503, 120)
    assert "secret-path" not in str(failed.value)


async def test_several_failures_are_all_told(tmp_path: Path, site: Site) -> None:
    """The error is one of them, with a note that counts and quotes them all."""
    site.statuses = {"/a": 500, "/b": 404}
    urls = f'["{site.url}/a", "{site.url}/b", "{site.url}/c"]'
    async with builtin(tmp_path, f"[handlers.forward]\nurls = {urls}") as forward:
        with pytest.raises(FailedAnswer) as failed:
            await forward(webhook())

    (note,) = failed.value.__notes__
    assert note.startswith("2 of 3 addresses failed:")
    assert "answered 500" in note
    assert "answered 404" in note


async def test_private_addresses_need_leave(tmp_path: Path, site: Site) -> None:
    """Without `[outbound] allow` nothing is sent into the inside."""
    toml = f'[handlers.forward]\nurls = ["{site.url}"]'
    async with builtin(tmp_path, toml, allow=()) as forward:
        with pytest.raises(Refused):
            await forward(webhook())

    assert site.requests == []


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("urls = []", "urls"),
        ('urls = ["ftp://example.com"]', "urls.0"),
        ('urls = ["https://example.com"]\nsecret = "hidden-not-whsec-at-all"', "secret"),
        ('urls = ["https://example.com"]\nsecret = "whsec_aGlkZGVu"', "secret"),
        ('urls = ["https://example.com"]\nsecret = "whsec_*hidden*"', "secret"),
        ('urls = ["https://example.com"]\nformat = "xml"', "format"),
    ],
)
def test_mistakes_are_told_at_the_start(tmp_path: Path, toml: str, key: str) -> None:
    """A wrong setting is named by its key, and no secret is quoted."""
    (mistake,) = mistakes(tmp_path, f"[handlers.forward]\n{toml}")
    assert mistake.startswith(f"handlers.forward.{key}:")
    assert "hidden" not in mistake
