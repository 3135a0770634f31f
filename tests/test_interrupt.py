"""Requests to stop, by signals."""

import signal

import pytest

from scrcl._interrupt import Interrupted, Interruption


def test_a_signal_raises_at_once():
    with Interruption.on_signals(), pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("module", ["numba.core.event", "llvmlite.binding.ffi"])
def test_a_signal_while_a_function_is_compiled_waits(module):
    compiler = {"__name__": module}
    exec("def call(work): work()", compiler)  # noqa: S102 - a function of that module
    with Interruption.on_signals() as interruption:
        compiler["call"](lambda: signal.raise_signal(signal.SIGTERM))
        assert interruption.asked == signal.SIGTERM
        with pytest.raises(Interrupted):
            interruption.check()
