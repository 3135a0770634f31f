"""One resumable stage: a name and a function that fills a folder.

The folder appears whole when the function returns, and the record (seconds, peak memory, bytes read,
rate, and whatever the function says) goes into ``run.json``. A stage whose folder is there is not run
again. What a stage leaves elsewhere (the last one: result and report) it names in ``files``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl._interrupt import Interruption
from scrcl.engine.usage import UsageMeter, give_back_freed
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scrcl._progress import Reporter
    from scrcl.engine.budget import Budget
    from scrcl.engine.config import RunConfig
    from scrcl.engine.run_folder import RunFolder
    from scrcl.graph.csr import Graph
    from scrcl.io.matrix import CellMatrix
    from scrcl.train.ranks import Ranks

__all__ = ["CSR", "PARTITION", "Run", "Stage", "run_stage"]

_LOG = logging.getLogger(__name__)

CSR = "csr"
"""Folder of a graph inside the folder of its stage."""

PARTITION = "partition"
"""Folder of the lists of cells inside that of the stage ``graph``."""


@dataclass(frozen=True)
class Stage:
    """A name, and ``fill(run, folder)``, which fills the folder and returns what to record."""

    name: str
    fill: Callable[[Run, Path], dict[str, Any]]
    reads: tuple[str, ...] = ()
    """Settings that no stage before it reads, with others of which a run may go on from it; none: it may not"""


def _alone() -> Ranks:
    from scrcl.train.ranks import Ranks

    return Ranks.alone()


@dataclass
class Run:
    """What every stage is given."""

    config: RunConfig
    folder: RunFolder
    budget: Budget
    reporter: Reporter
    open_matrix: Callable[[Path], CellMatrix]
    """Opens the input; what cannot be streamed by rows is rewritten under the path given, once."""
    client: Any = None
    """A ``distributed.Client`` whose workers map the blocks of X; threads of this process without."""
    ranks: Ranks = field(default_factory=_alone)
    """The processes that train together."""
    interruption: Interruption = field(default_factory=Interruption)
    """Asked before each stage and at each training step whether to stop."""

    @cached_property
    def matrix(self) -> CellMatrix:
        """The input, for the stages after ``read``."""
        return self.open_matrix(self.stage("read"))

    def stage(self, name: str) -> Path:
        """Folder of a finished stage."""
        return self.folder.stage(name)

    def array(self, stage: str, name: str) -> Any:
        """Array that a finished stage wrote, as a read-only memory map.

        Raises
        ------
        StoreError
            It is missing or damaged.
        """
        folder = self.stage(stage)
        try:
            return np.load(folder / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            message = (
                f"{folder} must hold {name}.npy whole; got {type(error).__name__}: {error}. "
                "Delete that folder and run the same command again."
            )
            raise StoreError(message) from error

    def graph(self, name: str) -> Graph:
        """Graph that the stage ``graph`` or ``genes`` built; its edges stay on disk."""
        from scrcl.graph.csr import Graph

        return Graph.load(self.stage(name) / CSR)

    def record(self, name: str) -> dict[str, Any]:
        """Record of a finished stage."""
        record = self.folder.finished(name)
        assert record is not None, f"stage {name} has not run"
        return record

    def count(self, name: str, total: int | None, unit: str = "cells") -> Callable[[int], None]:
        """Announce a countable piece of work; returns what to call as it advances."""
        self.reporter.stage_started(name, total, unit)
        return self.reporter.advance


def run_stage(stage: Stage, run: Run) -> dict[str, Any]:
    """Run a stage, or find it finished; returns its record."""
    done = run.folder.finished(stage.name)
    if done is not None:
        run.reporter.stage_finished(stage.name, done["seconds"], resumed=True)
        return done
    run.interruption.check()
    _LOG.info("stage %s", stage.name)
    run.folder.begin(stage.name)
    run.reporter.stage_started(stage.name, None, "cells")
    give_back_freed()
    with UsageMeter() as meter, atomic_folder(run.folder.stage(stage.name)) as partial:
        said = stage.fill(run, partial)
    usage = meter.usage
    n_cells = said.get("n_cells")
    record = {
        "name": stage.name,
        "seconds": round(usage.seconds, 4),
        "peak_rss_bytes": usage.peak_rss_bytes,
        "bytes_read": usage.bytes_read,
        "cells_per_s": None if n_cells is None else round(n_cells / max(usage.seconds, 1e-9), 1),
        **said,
    }
    run.folder.finish(record)
    run.reporter.stage_finished(stage.name, usage.seconds, resumed=False)
    return record
