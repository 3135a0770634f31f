"""Work in processes of its own: timed from outside, with its peak memory, or with its output."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = [
    "bench_command",
    "found_by",
    "peak_rss_bytes",
    "printed_by",
    "scrcl_command",
    "timed",
    "used",
]

_RSS_UNIT = 1 if platform.system() == "Darwin" else 1024


def scrcl_command(*arguments: object) -> list[str]:
    """Return a command of scrcl, run by this Python."""
    return [sys.executable, "-m", "scrcl", *map(str, arguments)]


def bench_command(module: str, *arguments: object) -> list[str]:
    """Return the command of a benchmark's module, run by this Python."""
    return [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]


def used(command: list[str]) -> tuple[float, resource.struct_rusage]:
    """Run a command to its end; returns wall-clock seconds and what the kernel counted of it."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - start, usage


def timed(command: list[str]) -> tuple[float, int]:
    """Return wall-clock seconds and peak resident bytes of a command, as the kernel counts them.

    scrcl resets the kernel's high-water mark at each stage. Take the larger of this peak and the one
    in its ``run.json``.
    """
    seconds, usage = used(command)
    return seconds, usage.ru_maxrss * _RSS_UNIT


def peak_rss_bytes() -> int:
    """Return the peak resident bytes of this process, including pages of mapped files."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def printed_by(command: list[str]) -> Any:
    """Return the last line that a command prints, read as JSON."""
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def found_by(command: list[str]) -> Any:
    """Return the JSON that a command writes to the file given by its option ``--found``."""
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "found.json"
        subprocess.run([*command, "--found", str(out)], check=True)
        return json.loads(out.read_text(encoding="utf-8"))
