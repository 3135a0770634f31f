import signal
import subprocess
import sys

import pytest

from scrcl.engine.lock import hold
from scrcl.errors import ResumeError

HOLDING = """
import sys, time
from pathlib import Path
from scrcl.engine.lock import hold
lock = hold(Path(sys.argv[1]), Path("out"))
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.usefixtures("warm")
def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path):
    file = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLDING, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(
            ResumeError, match=r"one process at a time; .* Wait for its end"
        ) as raised:
            hold(file, tmp_path / "out")
        assert str(tmp_path / "out") in str(raised.value)
        assert "\n" not in str(raised.value)
        holder.send_signal(signal.SIGKILL)
    hold(file, tmp_path / "out").release()


def test_a_released_lock_can_be_held_again(tmp_path):
    for _ in range(2):
        lock = hold(tmp_path / ".lock", tmp_path)
        with pytest.raises(ResumeError):
            hold(tmp_path / ".lock", tmp_path)
        lock.release()
