"""Going through all pages: where the next begins, and when there is none."""

import json

import pytest

from meshapi_core import (
    BatchObject,
    Done,
    Failure,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    ModelInfo,
    ModelSearchParams,
    ResponseParseError,
    ResponsesListItem,
    SendRequest,
    State,
    StreamCall,
    Timeout,
    Wait,
)

CORE = MeshAPICore(MeshAPIConfig("https://host", token="rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"))
HEADERS = {"content-type": "application/json", "x-request-id": "req-1"}
# Far more pages than any test needs: a loop without end is seen as one.
MANY = 50

LISTS = {
    "batches": (CORE.batches, BatchObject),
    "responses": (CORE.responses, ResponsesListItem),
}
EACH = pytest.mark.parametrize("name", LISTS)


def query(call):
    action = call.next_action()
    assert isinstance(action, SendRequest)
    return action.request.url.partition("?")[2]


def answered(call, body, status=200, **headers):
    call.receive_response(status, {**HEADERS, **headers})
    call.receive_data(json.dumps(body).encode())
    call.receive_eof()


def page(*ids, **fields):
    return {"data": [{"id": name} for name in ids], **fields}


def iterated(call, *pages):
    """The queries for these pages, and the ids of what came of them."""
    queries, ids = [], []
    for body in pages:
        queries.append(query(call))
        answered(call, body)
        ids += [item.id for item in call.events()]
    return queries, ids


def failed(call):
    with pytest.raises(MeshAPIError) as caught:
        call.next_action()
    assert call.state is State.FAILED
    return caught.value


@EACH
def test_all_pages_are_gone_through(name):
    """The next is got when the one before is used up; each item knows the request that it came with."""
    resource, item_type = LISTS[name]
    call = resource.iterate(page_size=2)
    assert isinstance(call, ItemsCall)
    assert not isinstance(call, StreamCall)
    assert query(call) == "limit=2"
    answered(call, page("a", "b", has_more=True, last_id="b"))
    first = list(call.events())
    assert [(type(item), item.id, item.request_id) for item in first] == [
        (item_type, "a", "req-1"),
        (item_type, "b", "req-1"),
    ]
    assert query(call) == "after=b&limit=2"
    answered(call, page("c", has_more=False, last_id="c"), **{"x-request-id": "req-2"})
    assert call.next_action() == Done()
    assert [(item.id, item.request_id) for item in call.events()] == [("c", "req-2")]


@EACH
def test_the_last_id_is_the_gateway_s_or_else_that_of_the_last_item(name):
    """What the gateway says counts; an id of any text is encoded."""
    call = LISTS[name][0].iterate()
    queries, ids = iterated(
        call,
        page("a", "b", has_more=True),
        page("c", "d", has_more=True, last_id=None),
        page("e", has_more=True, last_id=""),
        page("f", "g", has_more=True, last_id="cursor/&"),
        page("h", has_more=False),
    )
    assert queries == ["", "after=b", "after=d", "after=e", "after=cursor%2F%26"]
    assert ids == list("abcdefgh")
    assert call.next_action() == Done()


@EACH
@pytest.mark.parametrize("has_more", [{}, {"has_more": None}, {"has_more": False}])
@pytest.mark.parametrize("ids", ["", "ab"])
def test_a_page_that_does_not_say_so_is_not_followed_by_another(name, has_more, ids):
    """Even if it has a last id; an empty one is fine."""
    call = LISTS[name][0].iterate()
    assert iterated(call, page(*ids, last_id="x", **has_more)) == ([""], list(ids))
    assert call.next_action() == Done()


@EACH
def test_an_empty_page_may_be_followed_by_another(name):
    """If it says where."""
    call = LISTS[name][0].iterate()
    assert iterated(call, page(has_more=True, last_id="x"), {"data": None, "has_more": False}) == (["", "after=x"], [])
    assert call.next_action() == Done()


@EACH
@pytest.mark.parametrize("last", [{}, {"data": [{"id": None}]}, {"data": [{}], "last_id": ""}, {"last_id": None}])
def test_more_pages_after_nowhere_are_an_error(name, last):
    """The items of the page are handed out first."""
    call = LISTS[name][0].iterate()
    answered(call, {**page("a", has_more=True)})
    answered(call, {"has_more": True, **last})
    error = failed(call)
    assert type(error) is ResponseParseError
    assert (error.status, error.error_code, error.request_id) == (200, "parse_error", "req-1")
    assert error.message.startswith("the gateway says that there are more pages, but ")
    assert len(list(call.events())) == 1 + len(last.get("data", []))


@EACH
@pytest.mark.parametrize("circle", ["a", "ab", "abc"])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_gateway_that_goes_in_circles_is_an_error(name, circle, is_told):
    """Not a loop without end; after each item of the circle has been handed out."""
    call = LISTS[name][0].iterate()
    ids = []
    for number in range(MANY):
        if call.is_over:
            break
        last = circle[number % len(circle)]
        answered(call, page(last, has_more=True, **({"last_id": last} if is_told else {})))
        ids += [item.id for item in call.events()]
    assert type(failed(call)) is ResponseParseError
    assert ids[: len(circle)] == list(circle)
    assert len(ids) <= len(circle) + 1


@EACH
def test_an_error_comes_after_the_items_before_it(name):
    """Of a page that could not be had, or not be read."""
    for status, body in ((404, {}), (200, [])):
        call = LISTS[name][0].iterate()
        answered(call, page("a", has_more=True))
        answered(call, body, status)
        assert failed(call).status == status
        assert [item.id for item in call.events()] == ["a"]


@EACH
def test_each_page_is_tried_again_by_itself(name):
    """The tries of one are not counted against another; what was there is not asked for again."""
    call = LISTS[name][0].iterate(max_retries=1)
    for number in range(3):
        before = query(call)
        answered(call, {}, 503) if number % 2 else call.receive_failure(Failure.CONNECTION_LOST)
        assert call.next_action() == Wait(0.5)
        call.wait_elapsed()
        assert query(call) == before
        answered(call, page(str(number), has_more=True))
    assert [item.id for item in call.events()] == ["0", "1", "2"]
    assert query(call) == "after=2"
    answered(call, {}, 503)
    call.wait_elapsed()
    answered(call, {}, 503)
    assert failed(call).status == 503


@EACH
def test_the_options_go_with_every_page(name):
    """Queries and headers; the time is that for the whole."""
    call = LISTS[name][0].iterate(
        page_size=1, timeout=Timeout(1, 2, 3), extra_query={"q": 1}, extra_headers={"X-A": "b"}, request_id="r"
    )
    assert call.timeout == Timeout(1, 2, 3)
    for expected in ("limit=1&q=1", "after=a&limit=1&q=1"):
        assert query(call) == expected
        headers = dict(call.next_action().request.headers)
        assert (headers["X-A"], headers["X-Request-Id"]) == ("b", "r")
        answered(call, page("a", has_more=True))


# --- models ------------------------------------------------------------------------------------------------------


def found(*ids, **fields):
    return {"items": [{"id": name} for name in ids], **fields}


def test_a_search_goes_on_until_all_have_come():
    """Page after page, by how many came and not by how many were asked for."""
    call = CORE.models.iterate(ModelSearchParams(q="x", limit=3))
    assert query(call) == "q=x&limit=3&offset=0"
    answered(call, found("a", "b", total=4, limit=3, offset=7))
    assert [(type(item), item.id, item.request_id) for item in call.events()] == [
        (ModelInfo, "a", "req-1"),
        (ModelInfo, "b", "req-1"),
    ]
    assert iterated(call, found("c", total=4), found("d", total=4)) == (
        ["q=x&limit=3&offset=2", "q=x&limit=3&offset=3"],
        ["c", "d"],
    )
    assert call.next_action() == Done()


def test_a_search_may_begin_later():
    """Where the params say; they stay as they are."""
    params = ModelSearchParams(offset=5)
    call = CORE.models.iterate(params)
    assert iterated(call, found("a", total=7), found("b", total=7)) == (["offset=5", "offset=6"], ["a", "b"])
    assert call.next_action() == Done()
    assert params.offset == 5


@pytest.mark.parametrize("total", [{}, {"total": None}])
def test_a_search_without_a_total_ends_with_an_empty_page(total):
    """How many there are is then not known before."""
    call = CORE.models.iterate()
    assert iterated(call, found("a", "b", **total), found("c", **total), found(**total)) == (
        ["offset=0", "offset=2", "offset=3"],
        ["a", "b", "c"],
    )
    assert call.next_action() == Done()


@pytest.mark.parametrize("body", [found(), {}, {"items": None}, found(total=0), found(total=9)])
def test_a_search_that_finds_nothing_has_no_models(body):
    """Whatever its total says."""
    call = CORE.models.iterate()
    assert iterated(call, body) == (["offset=0"], [])
    assert call.next_action() == Done()


@pytest.mark.parametrize("total", [1, 2, -1])
def test_a_search_ends_where_more_came_than_there_are(total):
    """A total is taken at its word."""
    call = CORE.models.iterate()
    assert iterated(call, found("a", "b", total=total)) == (["offset=0"], ["a", "b"])
    assert call.next_action() == Done()


@pytest.mark.parametrize("total", [{}, {"total": 1000}])
def test_a_gateway_that_does_not_go_on_is_an_error(total):
    """One that knows no offset gives the same page again and again: not a loop without end, nor the same twice."""
    call = CORE.models.iterate()
    ids = []
    for _ in range(MANY):
        if call.is_over:
            break
        answered(call, found("a", "b", **total))
        ids += [item.id for item in call.events()]
    assert type(failed(call)) is ResponseParseError
    assert len(ids) <= 4


def test_models_without_an_id_are_models():
    """No field of an answer may be missed."""
    call = CORE.models.iterate()
    for name in "ab":
        answered(call, {"items": [{"name": name}], "total": 2})
    assert call.next_action() == Done()
    assert [item.name for item in call.events()] == ["a", "b"]


def test_an_error_comes_after_the_models_before_it():
    """As anywhere."""
    call = CORE.models.iterate(max_retries=0)
    answered(call, found("a"))
    answered(call, {}, 500)
    assert failed(call).status == 500
    assert [item.id for item in call.events()] == ["a"]
