"""What a batch job logs."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from scrcl import _pace
from scrcl.cli import render
from scrcl.cli.render import Lines
from scrcl.cli.tables import stages_table


@pytest.fixture
def logged(monkeypatch):
    """A reporter, and a function that returns its lines without their times."""
    monkeypatch.setattr(_pace, "EVERY_S", 0.06)
    monkeypatch.setattr(render, "_LOOK_EVERY_S", 0.01)
    text = io.StringIO()
    with Lines(Console(file=text, highlight=False)) as lines:
        yield lines, lambda: [line[20:] for line in text.getvalue().splitlines()]


def test_a_stage_that_counts_nothing_is_named_while_it_runs(logged):
    lines, shown = logged
    lines.stage_started("markers", None, "cells")
    time.sleep(0.3)
    lines.stage_finished("markers", 0.3, resumed=False)
    n_lines = len(shown())
    time.sleep(0.2)
    assert shown()[0] == "markers: running for 0 s"
    assert shown()[-1] == "markers: done in 0.3 s"
    assert len(shown()) == n_lines


def test_training_shows_its_step_and_the_time_left_without_the_steps_of_an_earlier_call(logged):
    lines, shown = logged
    lines._ended.set()  # what is shown here is shown by the call alone
    lines.stage_started("train", 100, "steps", done=80)
    time.sleep(0.2)
    lines.metrics(82, {"loss": 0.5})
    (line,) = shown()
    start, _, rest = line.partition(", ")
    assert start == "train: 82 steps of 100"
    left_s = int(rest.partition(" s left")[0])
    assert (
        left_s >= 1
    )  # at 2 steps in 0.2 s or more; with those before it would be less than a tenth
    assert line.endswith("; loss 0.5")


def test_the_table_of_stages_ends_with_their_sum_and_the_highest_peak():
    rows = [
        {"name": name, "seconds": s, "peak_rss_bytes": peak, "bytes_read": 10**6, "cells_per_s": 1}
        for name, s, peak in (("read", 1.0, 10**9), ("train", 2.5, 2 * 10**9), ("report", 1, 10**9))
    ]
    text = io.StringIO()
    Console(file=text).print(stages_table(rows))
    assert text.getvalue().splitlines()[-1].split() == ["all", "4.5", "2.00", "GB", "3.00", "MB"]
