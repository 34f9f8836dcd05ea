"""The limits of a call, counted on a clock that the test moves by hand."""

import math

import pytest

from meshapi_core import Failure, Patience, Timeout


def test_without_limits_nothing_ever_expires():
    """None waits for ever."""
    patience = Patience(Timeout(None, None, None), now=5.0)
    for start in (patience.start_connecting, patience.start_waiting):
        start(7.0)
        assert patience.expires_at == math.inf
        assert patience.seconds_left(1e9) is None
        assert patience.total_left(1e9) is None
        assert patience.allows(1e9, now=1e9)


def test_connecting_and_waiting_have_their_own_limits():
    """Each begins when it is said to begin, and ends in its own failure."""
    patience = Patience(Timeout(connect=3, idle=10), now=100.0)
    patience.start_connecting(101.0)
    assert (patience.expires_at, patience.seconds_left(102.0)) == (104.0, 2.0)
    assert patience.failure is Failure.CONNECT_TIMEOUT
    patience.start_waiting(103.0)
    assert (patience.expires_at, patience.seconds_left(112.0)) == (113.0, 1.0)
    assert patience.failure is Failure.TIMEOUT
    patience.start_waiting(112.0)
    assert patience.expires_at == 122.0


def test_what_is_over_has_no_time_left_and_not_less():
    """A wait of less than nothing is what libraries refuse."""
    patience = Patience(Timeout(connect=1, idle=1, total=2), now=0.0)
    patience.start_waiting(0.0)
    assert patience.seconds_left(50.0) == patience.total_left(50.0) == 0.0


@pytest.mark.parametrize("idle", [None, 10])
def test_the_whole_call_ends_before_what_it_waits_for(idle):
    """The earlier limit counts, and its failure is never tried again."""
    patience = Patience(Timeout(connect=10, idle=idle, total=5), now=0.0)
    patience.start_waiting(1.0)
    assert (patience.expires_at, patience.seconds_left(2.0), patience.total_left(2.0)) == (5.0, 3.0, 3.0)
    assert patience.failure is Failure.DEADLINE


def test_a_wait_is_allowed_if_it_leaves_time_to_go_on():
    """To wait until the very end would be to wait for nothing."""
    patience = Patience(Timeout(total=5), now=0.0)
    assert patience.allows(3.9, now=1.0)
    assert not patience.allows(4.0, now=1.0)


def test_a_wait_that_begins_now_has_its_whole_limit():
    """To the last digit, so that a library's own timer for the same limit can be told to be the same."""
    patience = Patience(Timeout(idle=0.3), now=0.1)
    patience.start_waiting(12345.678)
    assert patience.seconds_left(12345.678) == 0.3
