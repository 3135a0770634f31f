"""scrcl: cell types from single-cell atlases that do not fit in memory.

>>> import scrcl
>>> adata = scrcl.fit("cells.h5ad", n_clusters=10)  # doctest: +SKIP
>>> adata.obs["scrcl"]  # doctest: +SKIP

Nothing is done at import, and no heavy library is loaded until something is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrcl._interrupt import Interruption
    from scrcl.engine.api import fit, predict
    from scrcl.engine.config import RunConfig
    from scrcl.engine.evaluate import score
    from scrcl.errors import ScrclError
    from scrcl.graph.transformer import KNNTransformer

__all__ = [
    "Interruption",
    "KNNTransformer",
    "RunConfig",
    "ScrclError",
    "__version__",
    "fit",
    "predict",
    "score",
]

__version__ = "0.1.0"

_HOMES = {
    "Interruption": "scrcl._interrupt",
    "KNNTransformer": "scrcl.graph.transformer",
    "RunConfig": "scrcl.engine.config",
    "ScrclError": "scrcl.errors",
    "fit": "scrcl.engine.api",
    "predict": "scrcl.engine.api",
    "score": "scrcl.engine.evaluate",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        message = f"module 'scrcl' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
