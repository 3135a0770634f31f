"""The conditions of a measurement: date, commit, machine, cores, versions and load."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["commit", "conditions", "machine", "stamp", "today"]


def today() -> str:
    """Return the date as YYYY-MM-DD."""
    return time.strftime("%Y-%m-%d")


def commit() -> str:
    """Return the short hash of the commit that is checked out."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def machine(device: str = "cpu") -> str:
    """Return a short name for pages: ``2cpu``, or the name of the GPU as ``nvidia-h200``."""
    if device == "cpu":
        return f"{os.cpu_count()}cpu"
    return re.sub(r"[^a-z0-9]+", "-", _device_name(device).lower()).strip("-")


def conditions(
    *,
    commits: Iterable[str] | None = None,
    libraries: Iterable[str] = (),
    device: str | None = None,
) -> str:
    """Return a line with the conditions.

    Parameters
    ----------
    commits
        The commits that the rows were measured at; the current one where None.
    libraries
        Names of packages whose version matters.
    device
        Device that was trained on; not mentioned where None.
    """
    at = ", ".join(sorted(set(commits))) if commits is not None else commit()
    parts = [today(), f"commit {at}"]
    if device is not None:
        parts.append("CPU" if device == "cpu" else _device_name(device))
    versions = [f"{name} {version(name)}" for name in libraries]
    python = f"Python {platform.python_version()}"
    parts.append(", ".join([platform.machine(), f"{os.cpu_count()} cores", python, *versions]))
    # Other programs count in the load: it warns of a busy machine.
    parts.append(f"load {os.getloadavg()[0]:.1f} at the end")
    return f"{'; '.join(parts)}."


def stamp() -> dict[str, Any]:
    """Return date, commit, machine and cores as the fields of a row."""
    return {
        "date": today(),
        "commit": commit(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else device
