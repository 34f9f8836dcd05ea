"""Vectors, as numbers or packed into base64, are the same numbers in the order of the inputs."""

import base64
import json
import struct
import sys

import pytest

from meshapi_core import EmbeddingItem, EmbeddingsResponse
from meshapi_core.resources._base import read_json

# Each of these is exactly a 32-bit float.
NUMBERS = [0.5, -1.0, 0.0, 3.25, -65504.0, 2.0**-140]
PACKED = base64.b64encode(struct.pack("<6f", *NUMBERS)).decode()


def item(**fields):
    return read_json(EmbeddingItem, json.dumps(fields))


def test_numbers_are_given_as_they_came():
    """The list itself, not a copy; whole numbers are numbers, too."""
    found = item(embedding=[0.1, 1, -2])
    assert found.floats() == [0.1, 1.0, -2.0]
    assert found.floats() is found.embedding


def test_base64_is_decoded():
    """As little-endian 32-bit floats; the field stays what came."""
    found = item(embedding=PACKED)
    assert found.floats() == NUMBERS
    assert type(found.floats()) is list
    assert found.embedding == PACKED
    assert PACKED.startswith("AAAAP")


def test_base64_is_decoded_on_machines_of_the_other_byte_order(monkeypatch):
    """There, bytes in this machine's order come the wrong way round, and are turned."""
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    turned = base64.b64encode(struct.pack(">6f", *NUMBERS)).decode()
    assert item(embedding=turned if sys.byteorder == "big" else PACKED).floats() == NUMBERS


def test_an_array_holds_the_same_numbers():
    """From base64 as from numbers, of 32 bits each, and open to whoever reads memory."""
    for found in (item(embedding=PACKED), item(embedding=NUMBERS)):
        assert found.to_array().tolist() == NUMBERS
        assert memoryview(found.to_array()).format == "f"


def test_a_vector_may_be_empty():
    """Then it has no numbers."""
    assert item(embedding=[]).floats() == item(embedding="").floats() == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "no embedding"),
        ({"embedding": None}, "no embedding"),
        ({"embedding": "not base64!"}, "neither a list of numbers nor base64"),
        ({"embedding": "AAAAPw"}, "neither a list of numbers nor base64"),
        ({"embedding": "AAAA\nPw=="}, "neither a list of numbers nor base64"),
        ({"embedding": "\u00e4\u00f6\u00fc\u00df"}, "neither a list of numbers nor base64"),
        ({"embedding": "AAAAPwA="}, "5 bytes are not a multiple of 4"),
    ],
)
def test_what_is_no_vector_says_so(fields, problem):
    """Also through the whole answer."""
    with pytest.raises(ValueError, match=problem):
        item(**fields).floats()
    with pytest.raises(ValueError, match=problem):
        item(**fields).to_array()
    with pytest.raises(ValueError, match=problem):
        read_json(EmbeddingsResponse, json.dumps({"data": [{"embedding": [1.0]}, fields]})).vectors()


@pytest.mark.parametrize(
    ("indices", "order"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([2, 0, 1], [1, 2, 0]),
        ([None, None, None], [0, 1, 2]),
        ([None, 0, 2], [0, 1, 2]),
        ([0, 0, 0], [0, 1, 2]),
        ([20, 10, 30], [1, 0, 2]),
    ],
)
def test_vectors_are_in_the_order_of_the_inputs(indices, order):
    """By their index, where the server tells one; else as they come.  Both encodings may be mixed."""
    embeddings = [[0.0], base64.b64encode(struct.pack("<f", 1)).decode(), [2.0]]
    data = [{"index": index, "embedding": embedding} for index, embedding in zip(indices, embeddings)]
    found = read_json(EmbeddingsResponse, json.dumps({"data": data}))
    assert found.vectors() == [[float(position)] for position in order]
    # What came stays in the order in which it came.
    assert [entry.index for entry in found.data] == indices


def test_no_vectors_are_an_empty_list():
    """Of an answer without any."""
    assert read_json(EmbeddingsResponse, "{}").vectors() == []
