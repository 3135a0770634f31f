"""The data that the demonstration runs on: 700 PBMC inside scanpy's own wheel.

Its X is scaled and its ``raw`` holds log values: the demonstration reads ``raw``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from scrcl.errors import StoreError

__all__ = ["LABELS", "demo_path"]

LABELS = "bulk_labels"


def demo_path() -> Path:
    """Path of ``pbmc68k_reduced`` (``scanpy.datasets``), found without importing scanpy."""
    spec = find_spec("scanpy")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
        if path.exists():
            return path
    message = "the demo must find scanpy's pbmc68k_reduced; got none. Reinstall scanpy."
    raise StoreError(message)
