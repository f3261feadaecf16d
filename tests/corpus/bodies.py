"""Bodies that a sender with the secret could send: no JSON, odd JSON, and events of any shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tests.corpus.case import EITHER, READ, REFUSED
from tests.support.klen import UUID, webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.corpus.case import Case

NO_JSON: Final[dict[str, bytes]] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "nul": b"\0",
    "nan": b'{"event_type": "calendar.created", "n": NaN}',
    "infinity": b'{"n": Infinity}',
    "minus-infinity": b"[-Infinity]",
    "comma-at-the-end": b'{"a": 1,}',
    "comma-in-list": b"[1,]",
    "two-commas": b"[1,,2]",
    "two-values": b"{} {}",
    "value-and-more": b'{"a": 1}x',
    "comment": b'{"a": 1 /* one */}',
    "line-comment": b'{"a": 1} // one',
    "single-quotes": b"{'a': 1}",
    "bare-key": b"{a: 1}",
    "number-as-key": b"{1: 1}",
    "leading-zero": b'{"a": 01}',
    "plus": b'{"a": +1}',
    "hex": b'{"a": 0x10}',
    "full-stop-first": b'{"a": .5}',
    "full-stop-last": b'{"a": 5.}',
    "exponent-empty": b'{"a": 1e}',
    "underscore": b'{"a": 1_000}',
    "minus-alone": b"-",
    "true-in-capitals": b"[True]",
    "none": b"None",
    "undefined": b"undefined",
    "escape-unknown": b'["\\x41"]',
    "escape-short": b'["\\u00"]',
    "escape-at-the-end": b'["\\',
    "tab-in-text": b'["a\tb"]',
    "newline-in-text": b'["a\nb"]',
    "nul-in-text": b'["a\0b"]',
    "unclosed-text": b'{"a": "b',
    "colon-missing": b'{"a" 1}',
    "key-alone": b'{"a"}',
    "brackets-crossed": b"[{]}",
    "closed-only": b"]}",
    "form": b"event_type=calendar.created&id=1",
    "xml": b'<?xml version="1.0"?><event_type>calendar.created</event_type>',
    "xml-entities": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
    "yaml": b"event_type: calendar.created\n",
    "multipart": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
    "msgpack": b"\x81\xaaevent_type\xb0calendar.created",
    "pickle": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "gzip": bytes.fromhex(
        "1f8b0800000000000003ab562a4a2d2ecd4d55b2522a4b2d2ace4c51b252aa0500c8d1e9a814000000"
    ),
    "utf-8-overlong": b'["\xc0\xaf"]',
    "utf-8-surrogate": b'["\xed\xa0\x80"]',
    "utf-8-broken": b'["\xff\xfe"]',
    "utf-8-too-high": b'["\xf4\x90\x80\x80"]',
    "utf-8-cut": b'{"a": "\xe2\x82',
    "latin-1": '{"title": "Café"}'.encode("latin-1"),
    "bom-alone": b"\xef\xbb\xbf",
    "depth-20000": b"[" * 20_000,
    "depth-10000-objects": b'{"a":' * 10_000,
}

VALUES: Final[dict[str, Any]] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus-one": -1,
    "float": 1.5,
    "two-to-63": 2**63,
    "two-to-64": 2**64,
    "huge": 10**4200,
    "empty-text": "",
    "text": "x",
    "nul": "a\0b",
    "lone-surrogate": "\ud800",
    "list": [],
    "nested-list": [[[]]],
    "object": {},
    "object-in-object": {"a": {"b": {}}},
}
"""What may stand where something else is expected."""

TEXTS: Final[dict[str, str]] = {
    "ansi": "\x1b[2J\x1b[31mred",
    "lines": "a\r\n2025-05-01 [error] forged line",
    "c1": "\x9b31m",
    "right-to-left": "\u202egnp.exe",
    "zero-width": "a\u200b\u200d\ufeffb",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "combining": "Z" + "\u0300" * 500,
    "line-separator": "a\u2028b\u2029c",
    "noncharacter": "\uffff\ufffe",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "formula": '=HYPERLINK("http://x.example","x")',
    "formula-at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "sql": "'); DROP TABLE event; --",
    "fts": '" OR title:* NEAR(',
    "template": "{{7*7}} ${7*7} #{7*7} %s %n {0.__class__}",
    "path": "../../../../etc/passwd",
    "ical": "x\r\nEND:VEVENT\r\nBEGIN:VALARM",
    "shell": "$(reboot) `reboot` ; reboot",
    "long": "x" * 10_000,
    "long-word-of-marks": "*" * 5_000,
    "json-in-text": '{"event_type": "calendar.cancelled"}',
}

TIMES: Final[dict[str, Any]] = {
    "midnight-24": "2025-05-01T24:00:00Z",
    "second-60": "2025-05-01T23:59:60Z",
    "year-0": "0000-01-01T00:00:00Z",
    "year-9999": "9999-12-31T23:59:59.999999Z",
    "year-3170843": "+3170843-11-07T12:00:00Z",
    "no-zone": "2025-05-01T10:00:00",
    "zone-far": "2025-05-01T10:00:00+23:59",
    "zone-impossible": "2025-05-01T10:00:00+99:99",
    "february-30": "2025-02-30T10:00:00Z",
    "nanoseconds": "2025-05-01T10:00:00.123456789Z",
    "many-digits": "2025-05-01T10:00:00." + "1" * 5000 + "Z",
    "date-only": "2025-05-01",
    "week": "2025-W18-4",
    "words": "tomorrow",
    "full-width": "２０２５-05-01T10:00:00Z",
    "seconds": 1_746_094_530,
    "milliseconds": 1_746_094_530_000,
    "minus": -62_135_596_801,
    "float": 1e308,
}


def plain(value: Any) -> bytes:
    """A value as JSON, in ASCII: text that is no UTF-8 is written as an escape."""
    return json.dumps(value, separators=(",", ":")).encode()


def bodies() -> Iterator[Case]:
    """Bodies that a sender with the secret could send."""
    for name, body in NO_JSON.items():
        yield f"no-json-{name}", body, REFUSED
    whole = b'{"event_type":"x","a":[1,-2.5e3,"\\u00e9",null]}'
    for end in range(1, len(whole), 3):
        yield f"cut-{end:02}", whole[:end], REFUSED
    for name, encoding in [
        ("bom", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ]:
        yield f"encoding-{name}", webhook().decode().encode(encoding), EITHER
    for name, value in VALUES.items():
        yield f"top-{name}", plain(value), EITHER if name in ("huge", "lone-surrogate") else READ
        for key in ("event_type", "calendar_event", "timestamp", "call"):
            yield (
                f"envelope-{key}-{name}",
                plain(json.loads(webhook()) | {key: value}),
                READ if name != "huge" else EITHER,
            )
        for key in (
            "id",
            "uuid",
            "title",
            "event_type",
            "status",
            "start_time",
            "customer",
            "agent",
            "reason",
        ):
            yield f"field-{key}-{name}", plain_webhook(**{key: value}), READ if name != "huge" else EITHER
    for name, text in TEXTS.items():
        yield f"title-{name}", plain_webhook(title=text), READ
        yield f"customer-{name}", plain_webhook(customer={"name": text, "email": text, "phone": text}), READ
        yield f"type-{name}", plain(json.loads(webhook()) | {"event_type": text}), READ
    for name, time in TIMES.items():
        yield f"start-{name}", plain_webhook(start_time=time, end_time=time), READ
        yield f"timestamp-{name}", plain(json.loads(webhook()) | {"timestamp": time}), READ
    yield from shapes()


def plain_webhook(**fields: Any) -> bytes:
    """A webhook whose calendar event has these fields."""
    content = json.loads(webhook())
    content["calendar_event"] |= fields
    return plain(content)


def shapes() -> Iterator[Case]:
    """JSON that parsers read differently, or that takes long."""
    yield "twice-event-type", b'{"event_type":"calendar.created","event_type":"calendar.cancelled"}', READ
    yield "twice-calendar-event", webhook()[:-1] + b',"calendar_event":{"id":9}}', READ
    yield "twice-id", b'{"event_type":"calendar.created","calendar_event":{"id":1,"id":2,"id":null}}', READ
    yield "key-with-case", b'{"Event_Type":"calendar.created","EVENT_TYPE":"calendar.cancelled"}', READ
    yield "key-with-escape", b'{"event\\u005ftype":"calendar.created"}', READ
    yield "key-with-nul", b'{"event_type\\u0000":"calendar.created"}', READ
    yield "key-of-python", b'{"__class__":{"__init__":{"__globals__":{}}},"__proto__":{"a":1}}', READ
    yield "key-empty", b'{"":""}', READ
    yield "number-1e999", b'{"event_type":"x","n":1e999}', EITHER
    yield "number-1e-999", b'{"event_type":"x","n":1e-999}', READ
    yield "number-minus-zero", b'{"event_type":"x","n":-0}', READ
    yield "number-5000-digits", b'{"event_type":"x","n":' + b"9" * 5000 + b"}", EITHER
    yield "number-long-fraction", b'{"event_type":"x","n":0.' + b"1" * 5000 + b"}", READ
    yield "keys-4000", plain({str(number): None for number in range(4_000)}), READ
    yield "list-10000", b"[" + b"0," * 9_999 + b"0]", READ
    yield "escapes-10000", b'["' + b"\\ud83d" * 10_000 + b'"]', EITHER
    yield "blanks-20000", b" " * 10_000 + webhook() + b" " * 10_000, READ
    for depth in (50, 100, 200):
        yield f"depth-{depth}", b"[" * depth + b"]" * depth, READ
    for depth in (499, 500, 501, 1000, 5000):
        yield f"depth-{depth}", b"[" * depth + b"]" * depth, EITHER
        yield f"depth-{depth}-objects", b'{"a":' * depth + b"1" + b"}" * depth, EITHER
    unknown = (
        "calendar.exploded",
        "call.",
        ".",
        "calendar.*",
        "CALENDAR.CREATED",
        "calendar.created ",
        "\u0441alendar",
    )
    for number, name in enumerate(unknown):
        content = {"event_type": name, "calendar_event": {"id": 1, "uuid": UUID}}
        yield f"unknown-type-{number}", plain(content), READ
    yield "call-without-call", plain({"event_type": "call.ended"}), READ
    yield "call-with-calendar-event", plain({"event_type": "call.ended", "calendar_event": {"id": 1}}), READ
    yield "both", plain({"event_type": "call.ended", "call": {"id": 1}, "calendar_event": {"id": 1}}), READ
