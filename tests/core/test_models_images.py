"""Images that came in base64 are bytes; those that did not say where they are."""

import base64
import json

import pytest

from meshapi_core import ImageItem
from meshapi_core.resources._base import read_json

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
BASE64 = base64.b64encode(PNG).decode()


def item(**fields):
    return read_json(ImageItem, json.dumps(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"b64_json": BASE64},
        {"b64_json": BASE64, "url": "https://x/y.png"},
        {"b64_json": f"data:image/png;base64,{BASE64}"},
        {"url": f"data:image/png;base64,{BASE64}"},
        {"b64_json": "", "url": f"data:image/png;base64,{BASE64}"},
    ],
)
def test_base64_becomes_the_image(fields):
    """Also where a server writes a whole data: URL."""
    assert item(**fields).image_bytes() == PNG


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"url": "https://x/y.png"}, "fetch that yourself"),
        ({"b64_json": None, "url": "https://x/y.png"}, "fetch that yourself"),
        ({}, "no image"),
        ({"b64_json": "", "url": ""}, "no image"),
        ({"b64_json": "not base64!"}, "the image is not base64"),
        ({"b64_json": "AAA"}, "the image is not base64"),
        ({"b64_json": "\u00e4\u00f6\u00fc\u00df"}, "the image is not base64"),
        ({"url": "data:image/svg+xml,<svg/>"}, "the image is not base64"),
    ],
)
def test_an_image_that_is_not_here_says_where_to_look(fields, problem):
    """Or what is wrong with it."""
    with pytest.raises(ValueError, match=problem):
        item(**fields).image_bytes()


def test_a_large_image_does_not_flood_the_message():
    """Its base64 is not told again."""
    with pytest.raises(ValueError) as caught:
        item(b64_json="!" + BASE64 * 10_000).image_bytes()
    assert len(str(caught.value)) < 200
