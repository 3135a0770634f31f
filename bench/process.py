"""Commands timed from outside, the commit they were run at, and rows that earlier ones wrote."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["commit", "read_rows", "timed"]


def timed(command: list[str]) -> tuple[float, int]:
    """Wall-clock seconds and peak resident bytes of a command, as the kernel accounts them.

    scrcl resets the kernel's high-water mark at each stage: take the largest of this peak and that
    of its ``run.json``.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    scale = 1 if platform.system() == "Darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * scale


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that an earlier run wrote, a line of JSON each.

    Raises
    ------
    SystemExit
        The file is missing, or holds something else.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        message = f"cases must be a file of JSON lines; got {path} ({error})."
        raise SystemExit(message) from None


def commit() -> str:
    """Short hash of the commit that is checked out."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
