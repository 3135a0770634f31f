from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from scrcl.graph.recall import Reached, reach_recall

K = 4


class Widening:
    """A search that finds the nearest neighbours of more points each time it is widened."""

    def __init__(self, name, shares=(1.0,), *, has_threads=False, missing=False):
        self.name, self.has_threads, self.missing = name, has_threads, missing
        self._shares = list(shares)
        self.threads = set()

    def widen(self):
        if len(self._shares) == 1:
            return False
        self._shares.pop(0)
        return True

    def distances(self, rows):
        self.threads.add(threading.get_ident())
        if rows[0] == 0:
            time.sleep(0.02)  # later blocks are done before the first one
        found = np.outer(rows + 1, np.arange(1.0, K + 1) ** 2)
        is_wrong = rows >= self._shares[0] * 400
        found[is_wrong] *= 4
        if self.missing:
            found[is_wrong, -1] = np.inf
        return found


def reached(searcher, target=0.9, **options):
    return reach_recall(
        searcher,
        Widening("exact"),
        lambda one, rows: one.distances(rows),
        400,
        target=target,
        seed=0,
        block_rows=50,
        **options,
    )


def test_a_search_is_widened_until_the_recall_is_reached():
    searcher = Widening("other", [0.5, 0.95, 1.0])
    # Of a point that is not searched well enough, the first two of four are as near as the fourth.
    assert reached(searcher, target=0.76).recall == pytest.approx(0.975)
    assert searcher.widen()


def test_a_search_that_cannot_be_widened_says_what_it_reached():
    found = reached(Widening("other", [0.2, 0.5]))
    assert found.recall == pytest.approx(0.75)
    # Half of the points have neighbours at twice the distance. Theirs are the larger distances.
    lengths = np.sqrt(np.arange(1.0, 401))
    assert found.excess == pytest.approx(lengths[200:].sum() / lengths.sum())


def test_points_of_missing_neighbours_do_not_count_for_the_excess():
    found = reached(Widening("other", [0.5], missing=True))
    assert found.recall == pytest.approx(0.75)
    assert found.excess == 0


def test_distances_of_blocks_that_end_out_of_order_are_compared_with_their_own():
    searcher = Widening("other", [0.5])
    assert reached(searcher, n_workers=2).recall == pytest.approx(0.75)


def test_the_exact_search_is_not_compared_with_itself():
    searcher = Widening("exact", [0.5])
    assert reached(searcher) == Reached(1.0, 0.0)
    assert not searcher.threads


def test_a_search_with_threads_of_its_own_is_asked_by_one():
    assert _threads(has_threads=True) == {threading.get_ident()}
    assert threading.get_ident() not in _threads(has_threads=False)


def _threads(*, has_threads):
    searcher = Widening("other", has_threads=has_threads)
    reached(searcher, n_workers=2)
    return searcher.threads
