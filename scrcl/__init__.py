"""scrcl: cell types from single-cell atlases that do not fit in memory.

>>> import scrcl
>>> adata = scrcl.fit("cells.h5ad", n_clusters=10)  # doctest: +SKIP
>>> adata.obs["scrcl"]  # doctest: +SKIP

Importing scrcl loads nothing. A function loads the libraries that it needs when it is first used. Import it before
torch: waiting threads then sleep, which leaves shared cores to training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from scrcl._threads import wait_asleep

if TYPE_CHECKING:
    from scrcl._interrupt import Interruption
    from scrcl.engine.api import fit, plan, predict, rename
    from scrcl.engine.config import RunConfig
    from scrcl.engine.convert import convert
    from scrcl.engine.describe import describe
    from scrcl.engine.evaluate import evaluate
    from scrcl.engine.export import export
    from scrcl.engine.groups import find_markers, pseudobulk
    from scrcl.engine.open_run import open_run
    from scrcl.engine.simulate import simulate
    from scrcl.engine.subclusters import subcluster
    from scrcl.engine.write_back import write_back
    from scrcl.errors import ScrclError
    from scrcl.graph.transformer import KNNTransformer

__all__ = [
    "Interruption",
    "KNNTransformer",
    "RunConfig",
    "ScrclError",
    "__version__",
    "convert",
    "describe",
    "evaluate",
    "export",
    "find_markers",
    "fit",
    "open_run",
    "plan",
    "predict",
    "pseudobulk",
    "rename",
    "simulate",
    "subcluster",
    "write_back",
]

__version__ = "0.1.0"

wait_asleep()

_lazy, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_interrupt": ["Interruption"],
        "engine.api": ["fit", "plan", "predict", "rename"],
        "engine.config": ["RunConfig"],
        "engine.convert": ["convert"],
        "engine.describe": ["describe"],
        "engine.evaluate": ["evaluate"],
        "engine.export": ["export"],
        "engine.groups": ["find_markers", "pseudobulk"],
        "engine.open_run": ["open_run"],
        "engine.simulate": ["simulate"],
        "engine.subclusters": ["subcluster"],
        "engine.write_back": ["write_back"],
        "errors": ["ScrclError"],
        "graph.transformer": ["KNNTransformer"],
    },
)


def __getattr__(name: str) -> object:
    if name == "run":  # the command that most people know
        message = "scrcl.run is called scrcl.fit in Python"
        raise AttributeError(message)
    return _lazy(name)
