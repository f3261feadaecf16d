"""Signatures: published vectors, one table of what is accepted and refused, and the quality of secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from multidict import CIMultiDict

from receiver.errors import InvalidSignature
from receiver.keys import is_weak
from receiver.signing import STYLES, Verifier, sign

NOW = 1_700_000_000.0
SECRET = "klen-test-secret"
OTHER = "another-secret-0001"
BODY = b'{"event_type":"calendar.created"}'

V1 = (
    rb'{"event_type": "calendar.cancelled", "calendar_event": {"id": 123, "uuid": '
    rb'"f47ac10b-58cc-4372-a567-0e02b2c3d479", "title": "Caf\u00e9 sync", '
    rb'"reason": "Client requested to reschedule"}, "timestamp": "2025-05-01T10:15:30.000Z"}'
)
V2 = json.dumps(json.loads(V1), separators=(",", ":"), ensure_ascii=False).encode()
V3 = json.dumps(json.loads(V1), separators=(",", ":")).encode()
V1_HEX = "6757465cb7ee3832fac839b5ca20d0b697dce9f5f6f76811cd3c571caaa70ec3"
V2_HEX = "02fbd7619e6f8d101ada10786f4459e38ba7db59cf6a7a9ac117b8ae58745994"
V3_HEX = "2f2de05c2924a153e7f57cb97b04397991377883147abd680a2e3caee59d8a85"
EMPTY_HEX = "caed3edc2b31756b8ed1d14a0d408bf13122ae0c0caf86f2cea4710c0bc78b55"

# https://www.standardwebhooks.com and the published Svix server's tests, for the same message.
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
MESSAGE_TIME = "1614265330"
MESSAGE = b'{"test": 2432232314}'
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WHSK = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
MESSAGE_V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
MESSAGE_V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
HEX = hmac.digest(SECRET.encode(), BODY, "sha256").hex()
B64 = base64.b64encode(hmac.digest(SECRET.encode(), BODY, "sha256")).decode()


def refused(
    style: str, headers: list[tuple[str, str]], *, body: bytes = BODY, secret: str = SECRET, now: float = NOW
) -> str:
    with pytest.raises(InvalidSignature) as caught:
        Verifier(style, [secret]).verify(CIMultiDict(headers), body, now=now)
    return caught.value.reason


def message(*, family: str = "webhook", **changed: str) -> list[tuple[str, str]]:
    parts = {"id": MESSAGE_ID, "timestamp": MESSAGE_TIME, "signature": MESSAGE_V1} | changed
    return [(f"{family}-{name}", text) for name, text in parts.items()]


# --- published vectors ---


@pytest.mark.parametrize(
    ("body", "digest"),
    [(b"", EMPTY_HEX), (V1, V1_HEX), (V2, V2_HEX), (V3, V3_HEX)],
    ids=["empty", "V1", "V2", "V3"],
)
def test_klen_vectors(body: bytes, digest: str) -> None:
    """Klen's signature is the lower-case hex HMAC-SHA256 of the raw body, and is what we send."""
    headers = CIMultiDict({"x-klen-signature": digest})

    assert sign("klen", SECRET, body, now=NOW) == {"X-Klen-Signature": digest}
    assert Verifier("klen", [SECRET]).verify(headers, body, now=NOW)


def test_klen_vectors_have_the_documented_sizes() -> None:
    """The three vectors are the documented 227, 211 and 215 bytes."""
    assert (len(V1), len(V2), len(V3)) == (227, 211, 215)


def test_github_vector() -> None:
    """GitHub's own example verifies and is what we send."""
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    expected = {
        "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }

    assert expected == sign("github", secret, body, now=NOW)
    assert Verifier("github", [secret]).verify(CIMultiDict(expected), body, now=NOW)


def test_slack_vector() -> None:
    """Slack's own example verifies and is what we send."""
    secret, at = "8f742231b10e8888abcd99yyyzzz85a5", "1531420618"
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    expected = {
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        "X-Slack-Request-Timestamp": at,
    }

    assert expected == sign("slack", secret, body, now=int(at))
    assert Verifier("slack", [secret]).verify(CIMultiDict(expected), body, now=int(at))


def test_stripe_signs_time_and_body() -> None:
    """Stripe's signature is the hex HMAC of `time.body`; the `whsec_` of the secret belongs to the key."""
    secret = "whsec_a-stripe-secret"
    digest = hmac.new(secret.encode(), b"1700000000." + BODY, hashlib.sha256).hexdigest()
    expected = {"Stripe-Signature": f"t=1700000000,v1={digest}"}

    assert expected == sign("stripe", secret, BODY, now=NOW)
    assert Verifier("stripe", [secret]).verify(CIMultiDict(expected), BODY, now=NOW)


def test_shopify_signs_the_body_in_base64() -> None:
    """Shopify's signature is the base64 HMAC of the body."""
    expected = {"X-Shopify-Hmac-SHA256": B64}

    assert expected == sign("shopify", SECRET, BODY, now=NOW)
    assert Verifier("shopify", [SECRET]).verify(CIMultiDict(expected), BODY, now=NOW)


@pytest.mark.parametrize(
    ("secret", "signature"),
    [(WHSEC, MESSAGE_V1), (WHSEC.removeprefix("whsec_"), MESSAGE_V1), (WHSK, MESSAGE_V1A)],
    ids=["v1", "v1 without prefix", "v1a"],
)
def test_standard_webhooks_vectors(secret: str, signature: str) -> None:
    """The published messages, symmetric and asymmetric, verify and are what we send."""
    expected = dict(message(signature=signature))

    assert expected == sign(
        "standard-webhooks", secret, MESSAGE, now=int(MESSAGE_TIME), message_id=MESSAGE_ID
    )
    assert Verifier("standard-webhooks", [secret]).verify(
        CIMultiDict(expected), MESSAGE, now=int(MESSAGE_TIME)
    )


@pytest.mark.parametrize("family", ["webhook", "svix", "SVIX"])
def test_both_families_of_standard_webhooks_headers(family: str) -> None:
    """The `svix-` headers serve as well as the `webhook-` ones, in any case."""
    headers = CIMultiDict(message(family=family))

    assert Verifier("standard-webhooks", [WHSEC]).verify(headers, MESSAGE, now=int(MESSAGE_TIME))


# --- keys ---


def test_public_key_verifies_but_does_not_sign() -> None:
    """A `whpk_` key is enough to verify; signing needs the `whsk_` key."""
    headers = CIMultiDict(message(signature=MESSAGE_V1A))

    assert Verifier("standard-webhooks", [WHPK]).verify(headers, MESSAGE, now=int(MESSAGE_TIME))
    with pytest.raises(ValueError, match="whsk_"):
        sign("standard-webhooks", WHPK, MESSAGE, now=NOW, message_id="m")


def test_private_key_may_come_without_its_public_half() -> None:
    """A `whsk_` key of 32 bytes is the same key as with the public 32 behind it."""
    seed = base64.b64encode(base64.b64decode(WHSK.removeprefix("whsk_"))[:32]).decode()

    signed = sign("standard-webhooks", f"whsk_{seed}", MESSAGE, now=int(MESSAGE_TIME), message_id=MESSAGE_ID)

    assert signed["webhook-signature"] == MESSAGE_V1A


@pytest.mark.parametrize(
    ("style", "secrets", "says"),
    [
        ("klenn", [SECRET], "must be one of klen, github"),
        ("klen", [], "no secret"),
        ("klen", [""], "empty"),
        ("klen", [SECRET, ""], "empty"),
        ("klen", ["canary-canary-\ud800"], "UTF-8"),
        ("standard-webhooks", ["whsec_canary canary!"], "base64"),
        ("standard-webhooks", ["whsec_"], "holds 0 bytes"),
        ("standard-webhooks", ["whsec_Y2FuYXJ5"], "holds 6 bytes"),
        ("standard-webhooks", ["whpk_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"], "a whpk_ key holds 32"),
        ("standard-webhooks", ["whsk_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"], "a whsk_ key holds 32 or 64"),
        ("standard-webhooks", ["whsk_canary canary"], "whsk_ followed by base64"),
        ("standard-webhooks", ["whsk_" + "A" * 85 + "g=="], "do not belong together"),
    ],
)
def test_unusable_secrets_are_refused_when_built(style: str, secrets: list[str], says: str) -> None:
    """A verifier that could not verify is not built; the message says why, without the secret."""
    with pytest.raises(ValueError, match=says) as caught:
        Verifier(style, secrets)

    assert "canary" not in str(caught.value)
    assert "Y2FuYXJ5" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_fingerprint_names_the_secret_that_matched() -> None:
    """All secrets are tried; fingerprints differ by key, and stay the same for good, as the log has them."""
    verifier = Verifier("klen", [SECRET, OTHER])

    by_first = verifier.verify(CIMultiDict(sign("klen", SECRET, BODY, now=NOW)), BODY, now=NOW)
    by_second = verifier.verify(CIMultiDict(sign("klen", OTHER, BODY, now=NOW)), BODY, now=NOW)

    assert by_first != by_second
    assert by_first == Verifier("klen", [SECRET]).verify(
        CIMultiDict({"X-Klen-Signature": HEX}), BODY, now=NOW
    )
    assert by_first == "2f46f4181686"
    assert by_first not in hashlib.sha256(SECRET.encode()).hexdigest()


def test_a_key_has_one_fingerprint_however_it_is_written() -> None:
    """With or without `whsec_`, and as private or public key, the fingerprint is the same."""

    def fingerprint(secret: str, signature: str) -> str:
        headers = CIMultiDict(message(signature=signature))
        return Verifier("standard-webhooks", [secret]).verify(headers, MESSAGE, now=int(MESSAGE_TIME))

    assert fingerprint(WHSEC, MESSAGE_V1) == fingerprint(WHSEC.removeprefix("whsec_"), MESSAGE_V1)
    assert fingerprint(WHSK, MESSAGE_V1A) == fingerprint(WHPK, MESSAGE_V1A)


def test_repr_hides_the_secret() -> None:
    """Neither a secret's repr nor a verifier's shows the secret."""
    verifier = Verifier("klen", [SECRET])

    assert repr(verifier._secrets[0]).startswith("Secret(fingerprint='")
    assert SECRET not in repr(verifier._secrets) + repr(verifier) + str(vars(verifier))


def test_secret_bytes_that_are_not_utf8_are_kept() -> None:
    """Bytes of an environment variable that are not UTF-8 are the key as they were."""
    digest = hmac.digest(b"0123456789abcdef\xff", BODY, "sha256").hex()

    assert sign("klen", "0123456789abcdef\udcff", BODY, now=NOW) == {"X-Klen-Signature": digest}


@pytest.mark.parametrize("secret", [WHSEC, WHSK, WHPK])
def test_only_standard_webhooks_reads_prefixes(secret: str) -> None:
    """In the other styles a secret that begins like an encoded key is text, and its bytes are the key."""
    digest = hmac.digest(secret.encode(), BODY, "sha256").hex()

    assert sign("klen", secret, BODY, now=NOW) == {"X-Klen-Signature": digest}


# --- the signature header ---


@pytest.mark.parametrize("style", STYLES)
def test_missing_header_is_refused(style: str) -> None:
    """A request without the signature header is refused."""
    secret = WHSEC if style == "standard-webhooks" else SECRET

    assert refused(style, [("X-Other", HEX)], secret=secret) == "no signature header"


@pytest.mark.parametrize("second", [HEX, "", "0" * 64])
@pytest.mark.parametrize("first", [HEX, "", "0" * 64])
def test_two_signature_headers_are_refused(first: str, second: str) -> None:
    """Two signature headers are refused, even if equal, whichever of them is good."""
    headers = [("X-Klen-Signature", first), ("x-klen-signature", second)]

    assert refused("klen", headers) == "more than one signature header"


def test_two_families_of_headers_are_refused() -> None:
    """`webhook-signature` beside `svix-signature` is two signature headers."""
    headers = message() + message(family="svix")

    assert (
        refused("standard-webhooks", headers, body=MESSAGE, secret=WHSEC, now=int(MESSAGE_TIME))
        == "more than one signature header"
    )


@pytest.mark.parametrize("text", [HEX, HEX.upper(), f"sha256={HEX}", f"sha256={HEX.upper()}"])
def test_klen_spellings(text: str) -> None:
    """Klen's digest may be upper case and may stand behind `sha256=`."""
    assert Verifier("klen", [SECRET]).verify(CIMultiDict({"X-Klen-Signature": text}), BODY, now=NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        HEX[:-1],
        HEX[:32],
        HEX + "0",
        HEX + "\n",
        " " + HEX,
        HEX[:32] + " " + HEX[32:],
        f"{HEX},{HEX}",
        f"sha256={HEX},sha256={HEX}",
        f"SHA256={HEX}",
        f"sha256= {HEX}",
        f"sha256=sha256={HEX}",
        f"sha1={HEX}",
        f"v1={HEX}",
        B64,
        "\udcff" * 64,
        "é" * 64,
        HEX[:-1] + "\udcff",
        "".join(chr(ord(c) + 0xFEE0) for c in HEX),
        "\ud800",
        "\x00",
        "0x" + HEX[2:],
    ],
)
def test_klen_refuses_every_other_spelling(text: str) -> None:
    """Anything but one whole digest is malformed: cut, padded, listed, in other digits or not ASCII."""
    assert refused("klen", [("X-Klen-Signature", text)]) == "malformed signature"


@pytest.mark.parametrize("text", [HEX, f"sha256={HEX.upper()}", f"SHA256={HEX}", f"sha256={HEX} ", "sha256="])
def test_github_needs_its_prefix(text: str) -> None:
    """GitHub's signature is `sha256=` and lower-case hex, nothing else."""
    assert refused("github", [("X-Hub-Signature-256", text)]) == "malformed signature"


def test_base64_has_one_spelling() -> None:
    """A signature whose base64 differs in spare bits, alphabet, padding or junk is refused."""
    spare = B64[:-2] + chr(ord(B64[-2]) + 1) + "="
    assert base64.b64decode(spare) == base64.b64decode(B64)

    for text in (spare, B64 + "=", B64[:-1], B64 + "\n", f"!{B64}", B64[:8] + "!!!!" + B64[8:], HEX):
        assert refused("shopify", [("X-Shopify-Hmac-SHA256", text)]) == "malformed signature"


def test_wrong_digest_is_refused() -> None:
    """A well-formed digest of something else, or by another secret, is refused."""
    assert refused("klen", [("X-Klen-Signature", "0" * 64)]) == "no secret matches"
    assert refused("klen", list(sign("klen", OTHER, BODY, now=NOW).items())) == "no secret matches"
    assert refused("klen", [("X-Klen-Signature", HEX)], body=BODY + b" ") == "no secret matches"


def test_reasons_do_not_quote_the_request() -> None:
    """What the log learns of a refusal has nothing of the signature, the secret or the body."""
    reason = refused("klen", [("X-Klen-Signature", "canary")], secret="canary-canary-canary", body=b"canary")

    assert "canary" not in reason


# --- time and id ---


@pytest.mark.parametrize(
    ("offset", "accepted"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)]
)
@pytest.mark.parametrize("style", ["stripe", "slack", "standard-webhooks"])
def test_tolerance_reaches_both_ways(style: str, offset: int, accepted: bool) -> None:  # noqa: FBT001 -- a table
    """A signed time up to 300 s in the past or the future is accepted, beyond that refused."""
    secret = WHSEC if style == "standard-webhooks" else SECRET
    signed = sign(style, secret, BODY, now=NOW, message_id="m")

    if accepted:
        assert Verifier(style, [secret]).verify(CIMultiDict(signed), BODY, now=NOW + offset)
    else:
        reason = refused(style, list(signed.items()), secret=secret, now=NOW + offset)
        assert reason == "timestamp outside the tolerance"


def test_tolerance_can_be_set() -> None:
    """`tolerance_seconds` replaces the 300 seconds."""
    signed = CIMultiDict(sign("stripe", SECRET, BODY, now=NOW))

    assert Verifier("stripe", [SECRET], tolerance_seconds=3600).verify(signed, BODY, now=NOW + 3600)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1700000000",
        "+1700000000",
        "1_700_000_000",
        "1700000000.0",
        "1.7e9",
        "-1",
        "0" * 13,
        "9" * 5000,
        "\uff11\uff17\uff10\uff10\uff10\uff10\uff10\uff10\uff10\uff10",
        "1700000000\n",
        "\udcff",
    ],
)
@pytest.mark.parametrize("style", ["stripe", "slack", "standard-webhooks"])
def test_timestamps_are_ascii_digits(style: str, text: str) -> None:
    """A time is 1 to 12 ASCII digits; what else `int` would take is malformed, even when it is signed."""
    key = SECRET.encode()
    if style == "stripe":
        digest = hmac.digest(key, text.encode("utf-8", "surrogateescape") + b"." + BODY, "sha256").hex()
        headers, secret = [("Stripe-Signature", f"t={text},v1={digest}")], SECRET
    elif style == "slack":
        content = b"v0:" + text.encode("utf-8", "surrogateescape") + b":" + BODY
        digest = hmac.digest(key, content, "sha256").hex()
        headers = [("X-Slack-Signature", f"v0={digest}"), ("X-Slack-Request-Timestamp", text)]
        secret = SECRET
    else:
        headers, secret = message(timestamp=text), WHSEC

    assert refused(style, headers, secret=secret) == "malformed timestamp"


def test_timestamp_is_signed_as_received() -> None:
    """Leading zeros of the time are part of what is signed."""
    digest = hmac.digest(SECRET.encode(), b"v0:001700000000:" + BODY, "sha256").hex()
    headers = [("X-Slack-Signature", f"v0={digest}"), ("X-Slack-Request-Timestamp", "001700000000")]

    assert Verifier("slack", [SECRET]).verify(CIMultiDict(headers), BODY, now=NOW)
    headers[1] = ("X-Slack-Request-Timestamp", "1700000000")
    assert refused("slack", headers) == "no secret matches"


@pytest.mark.parametrize(
    ("style", "name"), [("slack", "X-Slack-Request-Timestamp"), ("standard-webhooks", "webhook-timestamp")]
)
def test_exactly_one_timestamp_header(style: str, name: str) -> None:
    """Without its time, or with two times, a request is refused."""
    secret = WHSEC if style == "standard-webhooks" else SECRET
    signed = sign(style, secret, BODY, now=NOW, message_id="m")
    without = [(key, text) for key, text in signed.items() if key != name]

    assert refused(style, without, secret=secret) == "no timestamp"
    assert refused(style, [*signed.items(), (name, signed[name])], secret=secret) == "more than one timestamp"


def test_message_id_is_needed_once() -> None:
    """A Standard Webhooks message without id, with two, or with one that is no plain token is refused."""

    def reason(headers: list[tuple[str, str]]) -> str:
        return refused("standard-webhooks", headers, body=MESSAGE, secret=WHSEC, now=int(MESSAGE_TIME))

    assert reason(message()[1:]) == "no message id"
    assert reason([*message(), ("Webhook-Id", MESSAGE_ID)]) == "more than one message id"
    for text in ("", "a b", "msg_é", "msg_\udcff", "a\n", "msg.1614265330"):
        assert reason(message(id=text)) == "malformed message id"
    assert reason(message(id="msg_other")) == "no secret matches"


def test_parts_of_a_signed_message_cannot_be_shifted() -> None:
    """A body that begins like a time cannot be split so that its time becomes the message's."""
    signed = sign("standard-webhooks", WHSEC, b"1700009999.{}", now=NOW, message_id="m")
    shifted = message(id="m.1700000000", timestamp="1700009999", signature=signed["webhook-signature"])

    reason = refused("standard-webhooks", shifted, body=b"{}", secret=WHSEC, now=1_700_009_999)

    assert reason == "malformed message id"


def test_time_and_id_come_from_the_same_family() -> None:
    """`svix-signature` goes with `svix-id` and `svix-timestamp` only."""
    headers = [("svix-signature", MESSAGE_V1), *message()[:2]]

    assert (
        refused("standard-webhooks", headers, body=MESSAGE, secret=WHSEC, now=int(MESSAGE_TIME))
        == "no message id"
    )


# --- lists of signatures ---


def test_stripe_accepts_one_good_entry_among_several() -> None:
    """Several `v1` entries stand in one header while keys change; `v0` and unknown entries do not count."""
    good = sign("stripe", SECRET, BODY, now=NOW)["Stripe-Signature"]
    digest = good.rpartition("=")[2]
    bad = "0" * 64
    verifier = Verifier("stripe", [OTHER, SECRET])

    for text in (f"{good},v1={bad}", f"t=1700000000,v1={bad},v1={digest}", f"v0={bad},x,{good},v1=zz"):
        assert verifier.verify(CIMultiDict({"Stripe-Signature": text}), BODY, now=NOW)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed signature"),
        ("t=1700000000", "malformed signature"),
        (f"t=1700000000,v0={HEX}", "malformed signature"),
        (f"t=1700000000;v1={HEX}", "malformed signature"),
        (f"t=1700000000,,v1={HEX}", "malformed signature"),
        (f"t=1700000000,v1={HEX},", "malformed signature"),
        (f"v1={HEX}", "no timestamp"),
        (f"t=1700000000,t=1700000000,v1={HEX}", "more than one timestamp"),
        (f"t=1700000000,t=1,v1={HEX}", "more than one timestamp"),
        (f"t=1700000000,v1={HEX}", "no secret matches"),
        ("t=1700000000" + f",v1={HEX}" * 17, "too many signatures"),
    ],
)
def test_stripe_refuses(text: str, reason: str) -> None:
    """Stripe's header needs exactly one time and at least one `v1`, and has no room for guessing."""
    assert refused("stripe", [("Stripe-Signature", text)]) == reason


def test_standard_webhooks_list() -> None:
    """One good signature in the list is enough, in its own version only."""
    bad = "v1," + base64.b64encode(bytes(32)).decode()
    bad_pair = "v1a," + base64.b64encode(bytes(64)).decode()
    at = int(MESSAGE_TIME)

    for secret, good in ((WHSEC, MESSAGE_V1), (WHPK, MESSAGE_V1A)):
        headers = CIMultiDict(message(signature=f"{bad} {bad_pair} v2,x {good}"))
        assert Verifier("standard-webhooks", [secret]).verify(headers, MESSAGE, now=at)
        for text in (bad, bad_pair, f"{bad} {bad_pair}"):
            reason = refused(
                "standard-webhooks", message(signature=text), body=MESSAGE, secret=secret, now=at
            )
            assert reason == "no secret matches"
        relabelled = good.replace("v1a,", "v1,") if good.startswith("v1a") else good.replace("v1,", "v1a,")
        for text in (relabelled, good.replace(",", "="), good.upper(), "", f" {good}", f"{bad}  {good}"):
            reason = refused(
                "standard-webhooks", message(signature=text), body=MESSAGE, secret=secret, now=at
            )
            assert reason == "malformed signature"


# --- options ---


def test_other_header_name_replaces_the_usual_one() -> None:
    """With `header`, only that header counts, for signing and verifying; the id and time keep their names."""
    signed = sign("standard-webhooks", WHSEC, BODY, now=NOW, message_id="m", header="X-Acme")
    verifier = Verifier("standard-webhooks", [WHSEC], header="x-acme")

    assert set(signed) == {"X-Acme", "webhook-timestamp", "webhook-id"}
    assert verifier.verify(CIMultiDict(signed), BODY, now=NOW)
    with pytest.raises(InvalidSignature, match="no signature header"):
        verifier.verify(
            CIMultiDict(sign("standard-webhooks", WHSEC, BODY, now=NOW, message_id="m")), BODY, now=NOW
        )


def test_known_header_name_chooses_its_family() -> None:
    """Naming `svix-signature` chooses the whole family, and the other one counts no more."""
    signed = sign("standard-webhooks", WHSEC, BODY, now=NOW, message_id="m", header="Svix-Signature")

    assert set(signed) == {"svix-signature", "svix-timestamp", "svix-id"}
    both = CIMultiDict({**signed, "webhook-signature": "v1,x"})
    assert Verifier("standard-webhooks", [WHSEC], header="Svix-Signature").verify(both, BODY, now=NOW)


def test_empty_header_name_means_the_usual_one() -> None:
    """An empty `header`, as the configuration has by default, changes nothing."""
    assert sign("klen", SECRET, BODY, now=NOW, header="") == {"X-Klen-Signature": HEX}


@pytest.mark.parametrize("header", ["X Klen", "X-Klen:", "X-Klen\r\nX", "X-Klén"])
def test_impossible_header_name(header: str) -> None:
    """A name that no header can have is refused when built."""
    with pytest.raises(ValueError, match="name of a header"):
        Verifier("klen", [SECRET], header=header)


@pytest.mark.parametrize("message_id", [None, "", "a b", "a.b", "a\r\nX: y", "é"])
def test_standard_webhooks_needs_a_message_id_to_sign(message_id: str | None) -> None:
    """A Standard Webhooks message is not signed without an id that the receiver accepts."""
    with pytest.raises(ValueError, match="message id"):
        sign("standard-webhooks", WHSEC, BODY, now=NOW, message_id=message_id)


# --- the JSON fallback ---


def test_json_fallback_accepts_the_compact_form() -> None:
    """With the fallback, V1 verifies with the digest of its compact JSON, and still with its own."""
    verifier = Verifier("klen", [OTHER, SECRET], json_fallback=True)

    assert verifier.verify(CIMultiDict({"X-Klen-Signature": V2_HEX}), V1, now=NOW)
    assert verifier.verify(CIMultiDict({"X-Klen-Signature": V1_HEX}), V1, now=NOW)


def test_json_fallback_is_off_by_default() -> None:
    """Without being asked for, only the raw bytes count."""
    assert refused("klen", [("X-Klen-Signature", V2_HEX)], body=V1) == "no secret matches"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b"[ NaN ]",
        b"[1e999]",
        b"1" * 5_000,
        rb'["\ud800"]',
        b'{"a": 1, "a": 2}',
    ],
)
def test_json_fallback_with_no_clear_json(body: bytes) -> None:
    """What cannot be read, or be read in two ways, is not verified, and is never an error of another kind."""
    verifier = Verifier("klen", [SECRET], json_fallback=True)

    for digest_of in (b"{}", b'{"a":2}', b'{"a":1}', b"[NaN]", b"[Infinity]"):
        with pytest.raises(InvalidSignature, match="no secret matches"):
            verifier.verify(CIMultiDict(sign("klen", SECRET, digest_of, now=NOW)), body, now=NOW)


def test_json_fallback_keeps_the_order_of_keys() -> None:
    """The compact form has the keys in the order they came in."""
    verifier = Verifier("klen", [SECRET], json_fallback=True)
    body = b'{"b": 1, "a": "\\u00e9"}'

    assert verifier.verify(
        CIMultiDict(sign("klen", SECRET, '{"b":1,"a":"é"}'.encode(), now=NOW)), body, now=NOW
    )
    with pytest.raises(InvalidSignature):
        verifier.verify(CIMultiDict(sign("klen", SECRET, '{"a":"é","b":1}'.encode(), now=NOW)), body, now=NOW)


def test_json_fallback_is_for_klen_only() -> None:
    """The fallback with another style is a mistake in the configuration."""
    with pytest.raises(ValueError, match="klen only"):
        Verifier("github", [SECRET], json_fallback=True)


# --- the quality of secrets ---


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("whsec_", "empty"),
        ("fifteen-bytes-x", "15 bytes"),
        ("ééééééé", "14 bytes"),
        ("a" * 16, "repeated"),
        ("whsec_" + "A" * 32, "repeated"),
        ("It's a Secret to Everybody", "sample"),
        (WHSEC, "sample"),
        (WHSEC.removeprefix("whsec_"), "sample"),
        (WHSK, "sample"),
        (WHPK, "sample"),
        ("8f742231b10e8888abcd99yyyzzz85a5", "sample"),
        ("your_webhook_secret", "placeholder"),
        ("your-webhook-secret", "placeholder"),
        ("your-klen-webhook-secret", "placeholder"),
        ("YOUR_WEBHOOK_SECRET", "placeholder"),
        ("<your-webhook-secret>", "placeholder"),
        ("change-me-change-me", "placeholder"),
        ("changeme-changeme-changeme", "placeholder"),
        ("replace-with-a-real-one", "placeholder"),
        ("replace_me_please_now", "placeholder"),
    ],
)
def test_weak_secrets(secret: str, says: str) -> None:
    """Empty, short, repeated, published and placeholder secrets are refused with a reason that hides them."""
    reason = is_weak(secret)

    assert reason is not None
    assert says in reason
    assert not secret.strip() or secret not in reason


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "0123456789abcdef",
        "éèêëéèêë",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "exchange-me-not-here",
        "0123456789abcdef\udcff",
    ],
)
def test_good_secrets(secret: str) -> None:
    """Sixteen bytes that are no known sample are good enough."""
    assert is_weak(secret) is None
