"""Warnings that a call gives once."""

import logging

from scrcl._warnings import logger_of, warned_once


def test_a_warning_is_given_once_in_a_call_and_again_in_the_next(caplog):
    log = logger_of("scrcl.some")

    @warned_once()
    def inner():
        log.warning("%s", "seen")
        log.info("stage")

    @warned_once()
    def outer():
        inner()
        inner()

    with caplog.at_level(logging.INFO, "scrcl"):
        outer()
        assert caplog.messages == ["seen", "stage", "stage"]
        inner()
        log.warning("seen")
        log.warning("seen")
    assert caplog.messages[3:] == ["seen", "stage", "seen", "seen"]
