"""Which bytes are asked for in how many requests."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.retrieval.ranges import MAX_REQUESTS, PART_BYTES, Link, merge, missing, plan

RUNS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 5000)).map(lambda run: (run[0], sum(run))),
    min_size=1,
    max_size=300,
)


def as_set(runs):
    return {byte for start, stop in runs for byte in range(start, stop)}


@given(RUNS, st.integers(1, 50))
def test_merging_loses_nothing_and_is_sorted(runs, number):
    merged = merge(runs, number)
    assert len(merged) <= number
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    assert not missing(runs, merged)


def test_merging_closes_the_smallest_gaps():
    runs = [(0, 10), (12, 20), (100, 110), (111, 120)]
    assert merge(runs) == runs
    assert merge(runs, 3) == [(0, 10), (12, 20), (100, 120)]
    assert merge(runs, 2) == [(0, 20), (100, 120)]
    assert merge(runs, 1) == [(0, 120)]
    assert merge(runs, gap=2) == [(0, 20), (100, 120)]
    assert merge([(0, 10), (10, 20), (5, 8)]) == [(0, 20)]
    assert merge([]) == []


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted), max_size=8),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted), max_size=8),
)
def test_missing_is_the_difference(runs, received):
    runs, received = [[tuple(run) for run in what] for what in (runs, received)]
    assert as_set(missing(runs, received)) == as_set(runs) - as_set(received)


@given(RUNS, st.booleans(), st.integers(1, 200))
def test_a_plan_covers_all_within_the_limits(runs, several, most_ranges):
    requests = plan(runs, several, most_ranges, Link())
    assert not missing(runs, [run for ranges in requests for run in ranges])
    if several:
        assert max(map(len, requests)) <= most_ranges
    else:
        assert len(requests) <= MAX_REQUESTS
        assert {len(ranges) for ranges in requests} == {1}


def test_a_plan_weighs_requests_against_bytes():
    runs = [(0, 1000), (10**6, 10**6 + 1000)]
    slow, far = Link(latency_s=0.01, bytes_per_s=1e6), Link(latency_s=1, bytes_per_s=1e8)
    assert plan(runs, False, 1, slow) == [[runs[0]], [runs[1]]]
    assert plan(runs, False, 1, far) == [[(0, 10**6 + 1000)]]
    assert plan(runs, True, 180, far) == [runs]
    # Too many ranges for one request: near ones are joined where that is cheaper than another.
    many = [(i * 1000, i * 1000 + 500) for i in range(200)]
    assert [len(ranges) for ranges in plan(many, True, 150, far)] == [150]
    assert [len(ranges) for ranges in plan(many, True, 150, Link(0.001, 1e5))] == [150, 50]


def test_gaps_smaller_than_a_part_are_not_left_out():
    assert plan([(0, 10), (10 + PART_BYTES, 200)], True, 180, Link()) == [[(0, 200)]]


def test_the_cost_of_requests():
    link = Link(latency_s=0.5, bytes_per_s=1000)
    assert link.seconds([[(0, 880)], [(0, 880)]]) == pytest.approx(2 * 0.5 + 2 * 1.0)
