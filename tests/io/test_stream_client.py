"""Blocks that the workers of a ``distributed`` client compute."""

from __future__ import annotations

import logging
import os
import signal
import threading

import dask.array as da
import numpy as np
import pytest

from scrcl._interrupt import Interrupted, Interruption
from scrcl.io import stream

distributed = pytest.importorskip("distributed")


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster


def total(first_row, block):
    return first_row, float(block.sum())


def test_without_workers_a_warning_says_so_and_the_work_goes_on_once_there_are_some(
    cluster, monkeypatch, caplog
):
    monkeypatch.setattr(stream, "_STALLED_S", 0.1)
    x = da.from_array(np.ones((6, 2)), chunks=(2, 2))
    starter = threading.Timer(1.0, cluster.scale, (1,))
    with distributed.Client(cluster) as client, caplog.at_level(logging.WARNING, "scrcl"):
        starter.start()
        found = list(stream.map_rows(x, total, stream.Reading(client=client)))
        starter.join()
    assert found == [(row, (row, 4.0)) for row in (0, 2, 4)]
    assert "has no workers" in caplog.text


def test_a_signal_ends_the_wait_for_workers(cluster):
    x = da.from_array(np.ones((6, 2)), chunks=(2, 2))
    killer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    rescue = threading.Timer(20.0, cluster.scale, (1,))  # the test fails late, not never
    with distributed.Client(cluster) as client, Interruption.on_signals():
        killer.start()
        rescue.start()
        with pytest.raises(Interrupted):
            list(stream.map_rows(x, total, stream.Reading(client=client)))
        assert rescue.is_alive()
        rescue.cancel()
