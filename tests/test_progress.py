"""What a run logs in Python."""

import logging

from scrcl import _pace
from scrcl._progress import Logged


def test_stages_that_do_something_are_logged_once(caplog):
    log = Logged()
    with caplog.at_level(logging.INFO, "scrcl"):
        log.stage_started("doublets", None, "cells")  # has nothing to do
        log.stage_left("doublets")
        log.stage_started("stats", None, "cells")
        for _ in range(2):
            log.stage_started("stats", 1_000, "cells")
        log.stage_started("values", 1_000, "cells")  # a part of it
        log.stage_finished("stats", 1.0, resumed=False)
        log.stage_finished("read", 1.0, resumed=True)
    assert caplog.messages == [
        "stats: begins, 1,000 cells",
        "stats: done in 1.0 s",
        "read: was finished before",
    ]


def test_how_far_a_stage_is_is_logged_from_time_to_time(caplog, monkeypatch):
    log = Logged()
    with caplog.at_level(logging.INFO, "scrcl"):
        log.stage_started("train", 100, "steps", done=40)
        log.advance(10)
        monkeypatch.setattr(_pace, "EVERY_S", 0.0)
        log.advance(10)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("train: 60 steps of 100, 0 s left (")


def test_notes_are_warnings_and_the_number_of_earlier_ones_is_none(caplog):
    with caplog.at_level(logging.INFO, "scrcl"):
        Logged().run_ended(["New."], "2 notes of earlier stages are in the report.")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
