"""The data of the demo: 700 PBMC in scanpy's own wheel.

X holds scaled values and ``raw`` log values, so the demo reads ``raw``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from scrcl.errors import StoreError

__all__ = ["LABELS", "demo_path"]

LABELS = "bulk_labels"


def demo_path() -> Path:
    """Path of ``pbmc68k_reduced`` (``scanpy.datasets``); scanpy is not imported, which takes seconds."""
    spec = find_spec("scanpy")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
        if path.exists():
            return path
    message = "the demo must find pbmc68k_reduced of scanpy; it is missing. Reinstall scanpy."
    raise StoreError(message)
