"""What the service and an isolated handler's process say to each other, and what that process gets to see."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.isolation.messages import Decoder, ProtocolError, encode
from receiver.isolation.process import ending_in_words, environment
from receiver.isolation.reply import Reply, dump, read
from storage.work import Effects, NewMessage

MESSAGES = st.lists(
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=20)), max_size=5
)


@given(MESSAGES, st.integers(1, 9))
def test_messages_arrive_whole_however_they_are_cut(messages: list[dict[str, Any]], size: int) -> None:
    """The decoder gives the messages that were encoded, whatever pieces the bytes come in."""
    data = b"".join(map(encode, messages))
    decoder = Decoder()

    assert messages == [
        message for at in range(0, len(data), size) for message in decoder.feed(data[at : at + size])
    ]


@given(st.lists(st.binary()))
def test_any_bytes_are_messages_or_an_error(pieces: list[bytes]) -> None:
    """What a child sends ends as a message or as a `ProtocolError`, and never takes more than the limit."""
    decoder = Decoder(1000)
    try:
        for piece in pieces:
            decoder.feed(piece)
    except ProtocolError:
        pass
    assert len(decoder._buffer) <= 1004 + max(map(len, pieces), default=0)


@pytest.mark.parametrize("data", [b"[1]", b"1", b"", b"{", b"\xff", b'{"a":' * 5000, b"[" * 100_000])
def test_what_is_no_object_is_an_error(data: bytes) -> None:
    """Deep nesting and bytes of no encoding included."""
    with pytest.raises(ProtocolError):
        Decoder().feed(len(data).to_bytes(4, "big") + data)


def test_a_message_has_a_limit() -> None:
    """The decoder refuses by the announced length, before there is anything to keep; so does the encoder."""
    assert Decoder(7).feed(encode({"a": 1}, 7)) == [{"a": 1}]
    with pytest.raises(ProtocolError, match="7 bytes; expected at most 6"):
        Decoder(6).feed(encode({"a": 1})[:4])
    with pytest.raises(ValueError, match="7 bytes between the processes; at most 6"):
        encode({"a": 1}, 6)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("done"),
        Reply("retry", "not yet", after=1.5),
        Reply("done", effects=Effects(reads=(("a", None), ("b", 2)), writes=(("a", "1"), ("b", None)))),
        Reply(
            "done", effects=Effects(messages=(NewMessage(url="u", origin="o", headers="{}", body=b"null"),))
        ),
    ],
)
def test_a_reply_survives_the_way(reply: Reply) -> None:
    """What the child dumps is what the service reads, effects included."""
    [message] = Decoder().feed(encode({"reply": dump(reply)}))

    assert reply == read(message["reply"])


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        "done",
        {"ending": "finished"},
        {"ending": "done", "text": 5},
        {"ending": "retry", "after": -1},
        {"ending": "retry", "after": float("nan")},
        {"ending": "retry", "after": float("inf")},
        {"ending": "retry", "after": 10**12},
        {"ending": "done", "effects": {"reads": [["a"]]}},
        {"ending": "done", "effects": {"writes": [["a", 1]]}},
        {"ending": "done", "effects": {"messages": [{"url": "u"}]}},
    ],
)
def test_a_reply_that_means_nothing_is_an_error(value: Any) -> None:
    """Every field is judged."""
    with pytest.raises(ProtocolError):
        read(value)


def test_the_environment_is_what_programs_need() -> None:
    """Paths, languages, certificates and proxies; nothing that could be a secret of the service."""
    own = {
        "PATH": "/bin",
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
        "https_proxy": "http://proxy",
        "KLEN_WEBHOOK_SECRET": "s",
        "KLENHOOK_OPS__TOKEN": "s",
        "DATABASE_URL": "s",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    kept = environment(own)

    assert set(kept) - {"MALLOC_ARENA_MAX"} == {"PATH", "LANG", "LC_ALL", "PYTHONUTF8", "https_proxy"}
    assert "s" not in kept.values()


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (3, "exit status 3"), (-11, "killed by SIGSEGV"), (-63, "killed by signal 63")],
)
def test_an_end_is_told_in_words(status: int, words: str) -> None:
    """Signals by their names."""
    assert words == ending_in_words(status)
