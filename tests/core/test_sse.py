"""The decoder of event streams, against a naive reading of the standard."""

import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshapi_core import ServerSentEvent, SSEDecoder

CALMLY = settings(deadline=None, database=None, max_examples=300)

# What the standard gives a meaning to, and what is easily taken for it.
_MORSELS = [
    b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"7", b"\xb2", b"x",
    b"data: a\n", b"data:b\r\n\r\n", b"id: 1\n", b"id\r", b"event: e\n", b"retry: 10\n", b": comment\n",
    b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xe2\x82", b"\xe2\x82\xac", b"\xff", b"\x0b", b"\x0c", b"\x1c",
    "\u2028".encode(), "\x85".encode(), "\u0660".encode(), "\ufeff".encode(),
]  # fmt: skip
_LINES = [b"data: a", b"data:b", b"data", b"id: 1", b"id", b"event: e", b"retry: 5", b": comment", b"", b"", b"junk"]
_LINE_ENDS = [b"\n", b"\r", b"\r\n"]
SENSIBLE_STREAMS = st.lists(st.tuples(st.sampled_from(_LINES), st.sampled_from(_LINE_ENDS)), max_size=20).map(
    lambda lines: b"".join(line + end for line, end in lines)
)
STREAMS = SENSIBLE_STREAMS | st.lists(st.sampled_from(_MORSELS) | st.binary(max_size=5), max_size=40).map(b"".join)


def as_the_standard_says(stream):
    """HTML 9.2.6, word for word and without any haste: (events, last event id, reconnection time)."""
    text = stream.decode("utf-8", "replace")
    if text.startswith("\ufeff"):
        text = text[1:]
    lines = re.split("\r\n|\n|\r", text)[:-1]
    events, event_type, data, id_buffer, last_event_id, retry = [], "", "", "", "", None
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data != "":
                events.append(ServerSentEvent(event_type or "message", data[:-1], last_event_id))
            data, event_type = "", ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer = value
        # The one liberty: a number beyond all time is not read.
        elif field == "retry" and re.fullmatch("[0-9]{1,18}", value):
            retry = int(value)
    return events, last_event_id, retry


def decoded(pieces):
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.receive_data(piece)]
    return events, decoder.last_event_id, decoder.retry


def split(stream, cuts):
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in zip(edges, edges[1:])]


def one_by_one(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


@CALMLY
@given(STREAMS, st.lists(st.integers(min_value=0), max_size=8))
@example(b"\xef\xbb\xbfdata: x\r\n\r\n", [1, 2, 11, 12])
@example(b"data: \xe2\x82\n\n", [7])
def test_the_decoder_reads_what_the_standard_says_however_the_bytes_are_split(stream, cuts):
    """Events, last event id and retry are the reference's, for the whole stream, single bytes and any split."""
    expected = as_the_standard_says(stream)
    assert decoded([stream]) == expected
    assert decoded(split(stream, cuts)) == expected
    assert decoded(one_by_one(stream)) == expected


@CALMLY
@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=8))
def test_no_bytes_at_all_make_the_decoder_raise(stream, cuts):
    """Arbitrary bytes are read as the reference reads them, whatever they are."""
    assert decoded(split(stream, cuts)) == as_the_standard_says(stream)


def message(data, event="message", event_id=""):
    return ServerSentEvent(event, data, event_id)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: a\r\n\r\n", [message("a")], id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [message("a"), message("b")], id="CR"),
        pytest.param(b"data: a\n\r\ndata: b\r\n\n", [message("a"), message("b")], id="mixed line ends"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [message("a")], id="BOM"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], id="only one BOM is skipped"),
        pytest.param(b"\xef\xbbdata: a\n\n", [], id="half a BOM is data"),
        pytest.param(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [message("a")], id="a BOM later on is no BOM"),
        pytest.param("data: a\u2028b\x85c\x0bd\x0ce\n\n".encode(), [message("a\u2028b\x85c\x0bd\x0ce")], id="no ends"),
        pytest.param(b"data:a\n\n", [message("a")], id="no space"),
        pytest.param(b"data:  a \n\n", [message(" a ")], id="one space is taken off"),
        pytest.param(b"data: a\ndata:\ndata: b\n\n", [message("a\n\nb")], id="several lines"),
        pytest.param(b"data\n\n", [message("")], id="data without a colon"),
        pytest.param(b"data: a: b\n\n", [message("a: b")], id="colon in the value"),
        pytest.param(b"event: e\n\ndata: a\n\n", [message("a")], id="an event's type does not outlive its block"),
        pytest.param(b"event: e\ndata: a\n\n", [message("a", event="e")], id="type"),
        pytest.param(b"event\ndata: a\n\n", [message("a")], id="empty type"),
        pytest.param(b"id: 1\n\nretry: 5\n\n: nothing\n\nevent: e\n\n", [], id="blocks without data"),
        pytest.param(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
                     [message("a", event_id="1"), message("b", event_id="1"), message("c")], id="ids stay until reset"),
        pytest.param(b"id: 1\nid: 2\0\ndata: a\n\n", [message("a", event_id="1")], id="an id with NUL is ignored"),
        pytest.param(b"Data: a\n data: b\nDATA: c\n\n", [], id="names are exact"),
        pytest.param(b"data: \xff\xe2\x82\n\n", [message("\ufffd\ufffd")], id="not UTF-8"),
        pytest.param(b"data: a\n\ndata: b\n", [message("a")], id="unfinished block"),
        pytest.param(b"data: a\n\ndata: b", [message("a")], id="unfinished line"),
        pytest.param(b"", [], id="nothing"),
    ],
)  # fmt: skip
def test_single_rules(stream, events):
    """Each rule of the standard, alone, as a whole and byte by byte."""
    assert decoded([stream])[0] == events
    assert decoded(one_by_one(stream))[0] == events


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        ("10", 10),
        ("0010", 10),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("\u0661", None),
        ("5" * 5000, None),
    ],
)
def test_retry_is_read_only_from_ascii_digits(value, retry):
    """Junk, and a number too long to be a time, leave the reconnection time as it is."""
    decoder = SSEDecoder()
    decoder.receive_data(f"retry: {value}\n".encode())
    assert decoder.retry == retry


def test_an_id_counts_only_once_its_block_is_complete():
    """An id in a block that never ends is not the last event id."""
    decoder = SSEDecoder()
    decoder.receive_data(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert decoder.last_event_id == "1"


def test_empty_pieces_change_nothing():
    """No bytes may be reported at any moment, between CR and LF and inside a BOM too."""
    pieces = [piece for byte in one_by_one(b"\xef\xbb\xbfdata: a\r\n\r\n") for piece in (b"", byte, b"")]
    assert decoded(pieces)[0] == [message("a")]


def test_a_long_event_in_tiny_pieces_is_joined_once():
    """The line under way is not put together anew with each piece, which would take quadratic time."""
    decoder, joins = SSEDecoder(), []
    pieces = [b"data: ", *[b"x"] * 5000, b"\n\n"]

    def count_joins(frame, event, function):
        if event == "c_call" and function.__name__ == "join":
            joins.append(function)

    before = sys.getprofile()
    sys.setprofile(count_joins)
    try:
        events = [event for piece in pieces for event in decoder.receive_data(piece)]
    finally:
        sys.setprofile(before)
    assert events == [message("x" * 5000)]
    assert len(joins) < 5


def test_an_event_that_is_too_large_is_the_end():
    """From then on nothing comes out, however it goes on; what was whole before it has come."""
    decoder = SSEDecoder(max_event_size=8)
    assert [event.data for event in decoder.receive_data(b"data: ab\n\ndata: abc\n\ndata: a\n\n")] == ["ab"]
    assert decoder.is_overfull
    assert decoder.receive_data(b"data: a\n\n") == []
