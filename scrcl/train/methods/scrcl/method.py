"""scRCL as a `Method`: what a step, the embedding and new cells are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from scrcl._random import torch_stream
from scrcl.prep.artifacts import FEATURES
from scrcl.train.counts import require_counts
from scrcl.train.method import Embedded, GeneVectors, Learner, Method
from scrcl.train.methods.scrcl import memory
from scrcl.train.methods.scrcl.embed import embed_all, write_graph_view
from scrcl.train.methods.scrcl.gene_vectors import fitted_gene_vectors
from scrcl.train.methods.scrcl.inputs import Inputs, open_inputs, write_inputs
from scrcl.train.methods.scrcl.minibatch import Minibatch, ScrclMinibatches, n_drawn
from scrcl.train.methods.scrcl.model import ScRCL
from scrcl.train.methods.scrcl.moments import Moments
from scrcl.train.methods.scrcl.new_cells import ScrclNewCells
from scrcl.train.methods.scrcl.objective import objective, summed_size
from scrcl.train.methods.scrcl.settings import ScrclSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from scrcl._contract import Opener, Shape
    from scrcl.prep.stats import MatrixStats
    from scrcl.train.method import Estimates, NewCellEncoder, NewCells
    from scrcl.train.minibatches import MinibatchSource
    from scrcl.train.settings import TrainSettings
    from scrcl.train.setup import Setup, Step, Work

__all__ = ["ScrclLearner", "ScrclMethod"]


class ScrclLearner(Learner):
    """The model, and the running means over all cells."""

    def __init__(self, model: ScRCL, settings: ScrclSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.moments = Moments(settings.moments_decay)

    def get_extra_state(self) -> Any:
        """Return the running means, for ``state_dict``."""
        return self.moments.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Set the running means, for ``load_state_dict``."""
        self.moments.load_state_dict(state, self.device)

    def step_state(self) -> Any:
        """Return the running means; a step replaces its tensors and never writes into them."""
        return self.moments.state_dict()

    def restore_step_state(self, state: Any) -> None:
        """Set the running means."""
        self.moments.load_state_dict(state, self.device)


class ScrclMethod(Method[ScrclSettings, Inputs, Minibatch, ScrclLearner]):
    """Contrastive learning of an MLP and a GCN view of each cell."""

    lowers_memory: ClassVar[tuple[str, ...]] = (
        "train.fanout",
        "scrcl.n_negatives",
        "scrcl.dim",
    )

    def check(self, stats: MatrixStats, settings: ScrclSettings) -> None:
        """Refuse log values and fractions where the encoders read counts."""
        if settings.features == "counts":
            require_counts(stats, "scrcl.features = counts", "scrcl.features=hvg")

    def write_inputs(
        self, opener: Opener, folder: Path, settings: ScrclSettings, work: Work
    ) -> None:
        """Write the rows of both views, and the graph in their order."""
        write_inputs(opener, folder, settings, work)

    def open_inputs(self, opener: Opener, folder: Path, settings: ScrclSettings) -> Inputs:
        """Open the rows of both views, the graph and the genes."""
        del settings
        return open_inputs(opener, folder)

    def start(self, inputs: Inputs, setup: Setup[ScrclSettings]) -> ScrclLearner:
        """Return the untrained model."""
        model = ScRCL(
            inputs.x.shape[1],
            inputs.genes.shape[1],
            len(inputs.genes),
            settings=setup.settings,
            precision=setup.train.precision,
            generator=torch_stream(setup.seed, "train.model"),
        )
        return ScrclLearner(model.to(setup.device), setup.settings)

    def batches(self, inputs: Inputs, setup: Setup[ScrclSettings]) -> ScrclMinibatches:
        """Return the mini-batches."""
        return ScrclMinibatches(inputs, setup)

    def step(self, learner: ScrclLearner, batch: Minibatch, now: Step) -> dict[str, Tensor]:
        """Return the terms of Eq. 10."""
        return objective(
            learner.model,
            batch,
            learner.moments,
            learner.settings,
            generator=now.generator,
            ranks=now.ranks,
        )

    def exchange(
        self,
        setup: Setup[ScrclSettings],
        batches: MinibatchSource[Inputs, Minibatch],
        now: Step,
    ) -> Sequence[int]:
        """Return the length of the means over the mini-batch, once forward and once backward."""
        draws = bool(n_drawn(setup.settings, batches))
        size = summed_size(setup.settings, len(batches.seeds(now.number)), draws=draws)
        return (size, size)

    def subset(self, inputs: Inputs, setup: Setup[ScrclSettings]) -> Minibatch:
        """Return the subset of the stability checks, which needs neither anchors nor negatives."""
        settings = setup.settings.model_copy(update={"negatives": "batch"})
        batch = super().subset(inputs, replace(setup, settings=settings))
        n_seeds = batch.cells.adjacency.pattern.shape[0]
        return replace(batch, cells=replace(batch.cells, x=batch.cells.x[:n_seeds].clone()))

    def subset_embedding(self, learner: ScrclLearner, subset: Minibatch) -> Tensor:
        """Return E = [E^m | E^g] of the subset."""
        eg_bd = learner.model.encode_gcn(subset.cells)
        em_bd = learner.model.encode_mlp(subset.cells.x)
        return torch.cat([em_bd, eg_bd], 1)

    def embed(
        self, learner: ScrclLearner, inputs: Inputs, folder: Path, work: Work, *, space: str
    ) -> Embedded:
        """Write E and Z of all cells, and E^g by itself if it is clustered."""
        embed_all(
            learner.model,
            inputs,
            folder,
            block_rows=work.block_rows,
            device=work.device,
            on_rows=work.on_rows,
        )
        if space != "graph_view":
            return Embedded(("embedding", "refined"))
        write_graph_view(folder, block_rows=work.block_rows)
        return Embedded(("embedding", "refined", "graph_view"))

    def gene_vectors(self, opener: Opener, folder: Path) -> GeneVectors:
        """Return the genes in the space of Z."""
        refined = np.load(folder / "refined.npy", mmap_mode="r")
        return GeneVectors("refined", fitted_gene_vectors(opener.open(FEATURES), refined))

    def new_cells(
        self, learner: ScrclLearner, inputs: Inputs, new: NewCells, work: Work
    ) -> NewCellEncoder:
        """Return the encoders with the rows that new cells need."""
        return ScrclNewCells(learner.model, inputs, new, learner.settings, work)

    def width(self, settings: ScrclSettings) -> int:
        """Return the width of E."""
        return 2 * settings.dim

    def widest(self, shape: Shape, settings: ScrclSettings) -> int:
        """Return the width of the widest rows that are held in blocks of cells."""
        return memory.widest(shape, settings)

    def estimates(
        self, shape: Shape, settings: ScrclSettings, train: TrainSettings, *, space: str
    ) -> Estimates:
        """Return what the stages take."""
        return memory.estimates(shape, settings, train, space=space)
