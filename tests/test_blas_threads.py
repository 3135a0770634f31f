"""One thread of linear algebra, and the search for its libraries."""

import os
import sys
from types import ModuleType

import numpy as np  # noqa: F401  (loads a library)
from threadpoolctl import threadpool_info

from scrcl import _threads
from scrcl._threads import one_blas_thread, wait_asleep


def n_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_blocks_nest_and_the_last_one_to_leave_ends_the_limit():
    before = n_threads()
    with one_blas_thread():
        with one_blas_thread():
            assert n_threads() == {1}
        assert n_threads() == {1}
    assert n_threads() == before


def test_libraries_are_sought_again_only_once_more_modules_are_loaded(monkeypatch):
    _threads._libraries.cache_clear()
    for _ in range(3):
        with one_blas_thread():
            pass
    assert _threads._libraries.cache_info().misses == 1
    monkeypatch.setitem(sys.modules, "tests.a_new_module", ModuleType("a_new_module"))
    with one_blas_thread():
        assert n_threads() == {1}
    assert _threads._libraries.cache_info().misses == 2


def test_waiting_threads_sleep_unless_the_user_says_how_they_wait(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    wait_asleep()
    assert os.environ["GOMP_SPINCOUNT"] == "300"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_asleep()
    assert "GOMP_SPINCOUNT" not in os.environ
