"""Load the large libraries of a run quickly.

This is for the command line. In a user's own process igraph must be able to draw, and memory is the user's.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

__all__ = ["load_libraries"]


def load_libraries() -> None:
    """Load what every run needs, and keep it out of garbage collection.

    The libraries make some 300,000 objects that stay to the end. Each full collection would look at all of them, ten
    times in a run of five seconds.
    """
    _load_igraph()
    if "torch" in sys.modules:  # loaded by others, whose objects must stay collectable
        return
    was_on = gc.isenabled()
    gc.disable()
    try:
        import anndata  # noqa: F401
        import torch  # noqa: F401

        import scrcl.graph.products  # noqa: F401 - it loads numba
    finally:
        if was_on:
            gc.enable()
    gc.freeze()


def _load_igraph() -> None:
    """Load igraph without matplotlib, which it only draws with, but loads wherever it can: a second of a run."""
    modules: dict[str, Any] = sys.modules
    if "matplotlib" in modules:
        return
    modules["matplotlib"] = None  # importing it fails
    try:
        import igraph  # noqa: F401
    finally:
        del modules["matplotlib"]
