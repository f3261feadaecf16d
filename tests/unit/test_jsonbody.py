"""What is JSON and what is not, and that its canonical bytes stand for its content."""

from __future__ import annotations

import math
from typing import Any

import pytest

from receiver.errors import InvalidJSON
from receiver.jsonbody import MAX_DEPTH, canonical, parse_json


def nest(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b' {"a": [1, -2.5, true, false, null, "x"]}\r\n\t', {"a": [1, -2.5, True, False, None, "x"]}),
        ('"é 会議"'.encode(), "é 会議"),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b'"\\u0000"', "\0"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'"scalars are JSON too"', "scalars are JSON too"),
    ],
)
def test_reads_json(body: bytes, value: object) -> None:
    """Every JSON text is read, an object or not."""
    assert parse_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"not json",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"[1] [2]",
        b"01",
        b"1.",
        b'"\t"',
        b"1\x00",
        b"\x0b1",
        b"NaN",
        b"Infinity",
        b'{"a": -Infinity}',
        b'[NaN, "\\ud800"]',
        b"a=1&b=2",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'["\\ud800", "\xff"]',
        nest(MAX_DEPTH + 1),
        nest(100_000),
        b'{"a":' * 100_000,
    ],
)
def test_refuses_everything_else(body: bytes) -> None:
    """Whatever is not JSON in UTF-8 without a BOM is InvalidJSON, and the reason quotes nothing of it."""
    with pytest.raises(InvalidJSON) as caught:
        parse_json(body)
    assert caught.value.reason in {"not JSON", "not UTF-8", "nested too deeply"}


def test_reads_what_the_fast_parser_refuses() -> None:
    """Half a surrogate pair and deep nesting are grammatical, so they are read."""
    assert parse_json(b'{"\\ud800": "\\udfff"}') == {"\ud800": "\udfff"}
    assert canonical(parse_json(nest(MAX_DEPTH))) == nest(MAX_DEPTH)


@pytest.mark.parametrize("body", [b"1e999", b"[1e999]", b"9" * 5000, b'["\\ud800", ' + b"9" * 5000 + b"]"])
def test_numbers_beyond_python_are_infinite(body: bytes) -> None:
    """A number that Python cannot hold is infinite, whichever parser reads it."""
    value: Any = parse_json(body)
    assert math.isinf(value[-1] if isinstance(value, list) else value)


@pytest.mark.parametrize("rest", [b"1", b'"\\ud800"'])
def test_the_last_of_equal_keys_counts(rest: bytes) -> None:
    """Of two equal keys the last one is the value, in both parsers."""
    value: Any = parse_json(b'{"a": 1, "b": ' + rest + b', "a": 2}')
    assert value["a"] == 2


def test_canonical_bytes_stand_for_content() -> None:
    """Order of keys, blanks and escapes do not change the canonical bytes; content does."""
    one = parse_json('{"b": [1, 2], "a": "é"}'.encode())
    same = parse_json(b'{"a":"\\u00e9","b":[1,2]}')
    assert canonical(one) == canonical(same)
    assert canonical(one) != canonical(parse_json(b'{"a":"\\u00e9","b":[2,1]}'))


@pytest.mark.parametrize("body", [b'{"\\ud800": 1}', b"9" * 4300, b"-1e999", b'"\\u0000"', nest(MAX_DEPTH)])
def test_canonical_takes_every_parsed_value(body: bytes) -> None:
    """Whatever was read has canonical bytes, and other content has others."""
    value = parse_json(body)
    assert canonical(value) == canonical(parse_json(b" " + body))
    assert canonical(value) != canonical([value])
