"""When to try again, and after how long."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshapi_core import Failure, Outcome, RetryPolicy


def no_jitter():
    return 1.0


def never_asked():
    raise AssertionError("jitter was asked for without a wait")


@pytest.mark.parametrize(("attempt", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10**6, 30.0)])
def test_waits_double_up_to_the_longest(attempt, seconds):
    """The n-th wait is backoff_base * 2**n, capped, however many went before."""
    policy = RetryPolicy(max_retries=10**7)
    assert policy.delay(attempt, Outcome("POST", status=503), no_jitter) == seconds


def test_retries_are_counted():
    """After max_retries retries there is no further one, and the jitter is not asked for."""
    policy = RetryPolicy(max_retries=2)
    outcome = Outcome("POST", status=503)
    assert policy.delay(1, outcome, no_jitter) is not None
    assert policy.delay(2, outcome, never_asked) is None
    assert RetryPolicy(max_retries=0).delay(0, outcome, never_asked) is None


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 402, 403, 404, 409, 422, 429, 500, 501, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_which_answers_are_retried_by_default(method, status):
    """429, 502, 503 and 504, for all methods but DELETE."""
    is_retried = RetryPolicy().delay(0, Outcome(method, status=status), no_jitter) is not None
    assert is_retried == (method != "DELETE" and status in (429, 502, 503, 504))


@pytest.mark.parametrize(
    ("method", "failure", "policy", "is_retried"),
    [
        ("POST", Failure.CONNECT, RetryPolicy(), True),
        ("POST", Failure.CONNECT_TIMEOUT, RetryPolicy(), True),
        ("DELETE", Failure.CONNECT, RetryPolicy(), False),
        ("GET", Failure.CONNECTION_LOST, RetryPolicy(), True),
        ("GET", Failure.TIMEOUT, RetryPolicy(), True),
        ("POST", Failure.CONNECTION_LOST, RetryPolicy(), False),
        ("POST", Failure.TIMEOUT, RetryPolicy(), False),
        ("POST", Failure.CONNECTION_LOST, RetryPolicy(retry_on_network_error=True), True),
        ("PATCH", Failure.TIMEOUT, RetryPolicy(retry_on_network_error=True), True),
        ("GET", Failure.DEADLINE, RetryPolicy(retry_on_network_error=True), False),
    ],
)
@pytest.mark.parametrize("status", [None, 200])
def test_which_failures_are_retried(method, failure, policy, is_retried, status):
    """Nothing sent: as the statuses; something sent: GET, or by consent; the whole call's time used up: never."""
    outcome = Outcome(method, status=status, failure=failure)
    assert (policy.delay(0, outcome, no_jitter) is not None) == is_retried


@pytest.mark.parametrize("failure", list(Failure))
def test_a_status_counts_even_if_the_answer_broke_off(failure):
    """503 is retried whatever became of its body, but not once the time for the call is used up."""
    outcome = Outcome("POST", status=503, failure=failure)
    assert (RetryPolicy().delay(0, outcome, no_jitter) is None) == (failure is Failure.DEADLINE)


@pytest.mark.parametrize(
    ("retry_streams", "started", "is_retried"),
    [(False, False, False), (True, False, True), (True, True, False), (False, True, False)],
)
def test_streams_are_retried_only_by_consent_and_before_their_first_byte(retry_streams, started, is_retried):
    """By default not at all; never once a byte has come."""
    policy = RetryPolicy(retry_streams=retry_streams)
    outcome = Outcome("POST", status=503, stream=True, started=started)
    assert (policy.delay(0, outcome, no_jitter) is not None) == is_retried


@pytest.mark.parametrize(
    ("retry_after", "jitter", "seconds"),
    [(7, 1.0, 7), (7, 0.8, 7), (7, 1.2, 7 * 1.2), (0, 1.2, 0.5 * 1.2), (0, 0.8, 0.4), (30, 1.2, 36), (0.1, 1.0, 0.5)],
)
def test_retry_after_is_the_least_wait(retry_after, jitter, seconds):
    """Jitter only adds to what the gateway asked for; a longer backoff stands."""
    outcome = Outcome("POST", status=429, retry_after=retry_after)
    assert RetryPolicy().delay(0, outcome, lambda: jitter) == pytest.approx(seconds)


def test_a_retry_after_above_the_cap_is_not_waited_for():
    """The call fails at once, without a jitter drawn."""
    outcome = Outcome("POST", status=429, retry_after=30.5)
    assert RetryPolicy().delay(0, outcome, never_asked) is None
    assert RetryPolicy(respect_retry_after=False).delay(0, outcome, no_jitter) == 0.5
    assert RetryPolicy(backoff_max=31).delay(0, outcome, no_jitter) == 30.5


@settings(deadline=None, database=None)
@given(
    st.integers(0, 10**4),
    st.none() | st.floats(0, 30),
    st.floats(0.8, 1.2),
    st.floats(0, 1e300),
    st.floats(0, 1e300),
)
def test_every_wait_keeps_its_bounds(attempt, retry_after, jitter, base, longest):
    """Never shorter than Retry-After, never longer than the cap and the jitter allow, never infinite."""
    policy = RetryPolicy(max_retries=10**5, backoff_base=base, backoff_max=longest)
    delay = policy.delay(attempt, Outcome("GET", status=503, retry_after=retry_after), lambda: jitter)
    if retry_after is not None and retry_after > longest:
        assert delay is None
    else:
        assert 0 <= delay < math.inf
        assert (retry_after or 0) <= delay <= longest * max(jitter, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_retries": -1}, "max_retries must be a whole number, 0 or more, not -1"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": 1.0}, "max_retries"),
        ({"max_retries": None}, "max_retries"),
        ({"backoff_base": -0.1}, "backoff_base must be a number of seconds, 0 or more, not -0.1"),
        ({"backoff_base": math.nan}, "backoff_base"),
        ({"backoff_max": math.inf}, "backoff_max"),
        ({"backoff_max": "30"}, "backoff_max"),
        ({"backoff_max": True}, "backoff_max"),
        ({"retry_on_method": "GET"}, "retry_on_method must be a set, not the text 'GET'"),
        ({"retry_on_status": "503"}, "retry_on_status must be a set"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(changes, message):
    """When it is made, with the name of what is wrong."""
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**changes)


def test_what_a_policy_keeps_is_immutable():
    """Any iterable is taken, methods in any case; policies of the same values are equal and have the same hash."""
    policy = RetryPolicy(retry_on_status=[503, 429], retry_on_method=("get", "Post"))
    assert policy.retry_on_status == frozenset({429, 503})
    assert policy.retry_on_method == frozenset({"GET", "POST"})
    twin = RetryPolicy(retry_on_status={429, 503}, retry_on_method={"POST", "GET"})
    assert {policy} == {twin}
