"""The artifacts of a run for its method, and the method's inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from scrcl._atomic import atomic_folder
from scrcl.engine.device import resolve_device
from scrcl.graph.csr import CELL_GRAPH, GENE_GRAPH
from scrcl.graph.partition import PARTITION
from scrcl.prep.feature_store import FEATURES
from scrcl.prep.pca import COMPONENTS, GENE_SKETCH, PCA, PRESENT_GENES
from scrcl.train.method import Setup, Work

if TYPE_CHECKING:
    from scrcl._contract import Artifact
    from scrcl.engine.stage import Run
    from scrcl.train.ranks import Ranks
    from scrcl.typing import OnRows

__all__ = ["RunOpener", "setup_of", "training_inputs", "work_of"]

T = TypeVar("T")

_GIVEN_BY: dict[Artifact[Any], str] = {
    COMPONENTS: "reduce",
    PCA: "reduce",
    FEATURES: "features",
    PRESENT_GENES: "features",
    CELL_GRAPH: "graph",
    PARTITION: "graph",
    GENE_GRAPH: "genes",
    GENE_SKETCH: "genes",
}


class RunOpener:
    """Opens artifacts of the finished stages of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def open(self, artifact: Artifact[T]) -> T:
        """Return what the stage that gives ``artifact`` wrote."""
        return artifact.load(self._run.stage(_GIVEN_BY[artifact]))


def work_of(run: Run, on_rows: OnRows | None = None) -> Work:
    """Return how to go through all cells within the budget."""
    device = resolve_device(run.config.device, run.ranks.local)
    return Work(run.budget.dense_block_rows, run.budget.n_workers, device, on_rows)


def setup_of(run: Run, *, device: str = "cpu", ranks: Ranks | None = None) -> Setup[Any]:
    """Return what the method is started with."""
    config = run.config
    setup = Setup(config.method_settings, config.train, config.seed, device)
    return setup if ranks is None else Setup(setup.settings, setup.train, setup.seed, device, ranks)


def training_inputs(run: Run) -> Any:
    """Open what training and inference read; written on the first call of a run."""
    folder, method = run.stage("views"), run.config.method_entry.load()
    opener, settings = RunOpener(run), run.config.method_settings
    if not folder.is_dir():
        with atomic_folder(folder) as partial:
            method.write_inputs(opener, partial, settings, work_of(run))
    return method.open_inputs(opener, folder, settings)
