"""scGPCL as a `Method`: what a step, the embedding and new cells are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn.functional import pad

from scrcl.errors import InputError
from scrcl.train.counts import require_counts
from scrcl.train.method import Embedded, Method
from scrcl.train.methods.scgpcl import memory
from scrcl.train.methods.scgpcl.embed import embed_all
from scrcl.train.methods.scgpcl.inputs import Inputs, open_inputs, write_inputs
from scrcl.train.methods.scgpcl.learner import ScgpclLearner
from scrcl.train.methods.scgpcl.loss import (
    cluster_loss,
    contrast_loss,
    prototype_loss,
    sharpened,
    soft_assignment,
)
from scrcl.train.methods.scgpcl.minibatch import N_VIEWS, Minibatch, ScgpclMinibatches
from scrcl.train.methods.scgpcl.new_cells import ScgpclNewCells
from scrcl.train.methods.scgpcl.refresh import (
    minibatch_prototypes,
    refresh_clusters,
    refresh_prototypes,
)
from scrcl.train.methods.scgpcl.settings import ScgpclSettings
from scrcl.train.methods.scgpcl.stop import ClustersAgree, FewChange
from scrcl.train.methods.scgpcl.zinb import zinb_loss
from scrcl.train.schedule import Schedule, schedule_of
from scrcl.train.setup import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from scrcl._contract import Opener, Shape
    from scrcl.prep.stats import MatrixStats
    from scrcl.train.method import Estimates, NewCellEncoder, NewCells
    from scrcl.train.minibatches import MinibatchSource
    from scrcl.train.ranks import Ranks
    from scrcl.train.settings import TrainSettings
    from scrcl.train.setup import Setup, Step, Work

__all__ = ["FINE_TUNING", "PROTOTYPES", "WARM_UP", "ScgpclMethod"]

WARM_UP, PROTOTYPES, FINE_TUNING = "warm-up", "prototypes", "fine-tuning"


class ScgpclMethod(Method[ScgpclSettings, Inputs, Minibatch, ScgpclLearner]):
    """Prototypical contrastive learning on the graph of cells and genes, then clusters that sharpen."""

    lowers_memory: ClassVar[tuple[str, ...]] = ("scgpcl.context_cells", "features.n_top_genes")

    def check(self, stats: MatrixStats, settings: ScgpclSettings) -> None:
        """Refuse log values where counts are needed, and more clusters than cells."""
        if settings.reconstruction == "zinb":
            require_counts(stats, "scgpcl.reconstruction = zinb", "scgpcl.reconstruction=mse")
        n_cells, k = int(stats.retained.sum()), settings.n_clusters
        if k != "auto" and k > n_cells:
            message = (
                f"scgpcl.n_clusters must be at most the number of cells with counts ({n_cells}); got {k}. "
                "Give a smaller number, or auto."
            )
            raise InputError(message)

    def write_inputs(
        self, opener: Opener, folder: Path, settings: ScgpclSettings, work: Work
    ) -> None:
        """Read the feature store once for scales and the cells of each gene."""
        write_inputs(opener, folder, settings, work)

    def open_inputs(self, opener: Opener, folder: Path, settings: ScgpclSettings) -> Inputs:
        """Open the feature store, scales and the cells of each gene."""
        del settings
        return open_inputs(opener, folder)

    def start(self, inputs: Inputs, setup: Setup[ScgpclSettings]) -> ScgpclLearner:
        """Return the untrained encoder and decoder."""
        return ScgpclLearner(inputs, setup).to(setup.device)

    def batches(self, inputs: Inputs, setup: Setup[ScgpclSettings]) -> ScgpclMinibatches:
        """Return the mini-batches."""
        return ScgpclMinibatches(inputs, setup)

    def phases(self, setup: Setup[ScgpclSettings], inputs: Inputs) -> Sequence[Phase]:
        """Return pre-training without and with prototypes, then fine-tuning; those that have steps."""
        train, settings = setup.train, setup.settings
        n_steps = schedule_of(train, inputs.n_cells).n_steps
        n_tuning = round(n_steps * settings.finetune_share)
        n_warm = round((n_steps - n_tuning) * settings.warmup_share)
        agree = ClustersAgree(inputs.n_clusters, settings.agreement, setup.seed)
        few = FewChange(settings.changed)
        stops = train.stop == "auto"

        def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay)

        def adadelta(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.Adadelta(
                parameters, lr=1.0, rho=0.95, weight_decay=train.weight_decay
            )

        warm = Schedule(n_warm, train.lr, warmup_steps=train.warmup_steps)
        contrast = Schedule(n_steps - n_tuning - n_warm, train.lr)
        tuning = Schedule(n_tuning, 1.0, decay_steps=train.decay_steps)
        every = settings.refresh_every
        of_subset = every if settings.prototypes == "subset" else 0
        phases = [
            Phase(WARM_UP, warm, adamw),
            Phase(PROTOTYPES, contrast, adamw, agree if stops else None, of_subset),
            Phase(FINE_TUNING, tuning, adadelta, few if stops else None, every),
        ]
        return [phase for phase in phases if phase.schedule.n_steps] or phases[:1]

    def refresh(
        self, learner: ScgpclLearner, inputs: Inputs, setup: Setup[ScgpclSettings], now: Step
    ) -> None:
        """Update the prototypes of a subset; in fine-tuning the sizes of the clusters."""
        update = refresh_clusters if now.phase.name == FINE_TUNING else refresh_prototypes
        with torch.no_grad():
            update(learner, inputs, setup, now)

    def step(self, learner: ScgpclLearner, batch: Minibatch, now: Step) -> dict[str, Tensor]:
        """Return reconstruction and contrast; prototypes and clusters in their phases."""
        settings, n_cells = learner.settings, batch.n_seeds
        one, other = learner.encoder(batch.x_bm, batch.views, n_cells, now.ranks)
        losses = {"reconstruction": _reconstruction(learner, batch, (one, other), now.ranks)}
        if now.phase.name == FINE_TUNING:
            losses["clusters"] = settings.cluster_weight * _clusters(learner, batch, (one, other))
            return losses
        every = _of_all_ranks((one, other), batch, now.ranks)
        losses["contrast"] = settings.contrast_weight * contrast_loss(
            (one, other), every, batch.first, settings.temperature
        )
        if now.phase.name == PROTOTYPES:
            levels: Sequence[Tensor] = learner.levels
            if settings.prototypes == "minibatch":
                levels = minibatch_prototypes(learner, every[1], now.number)
            losses["prototypes"] = settings.prototype_weight * prototype_loss(
                one, other.detach(), levels, n_cells, settings.temperature
            )
        return losses

    def exchange(
        self,
        setup: Setup[ScgpclSettings],
        batches: MinibatchSource[Inputs, Minibatch],
        now: Step,
    ) -> Sequence[int]:
        """Return the sizes of the sums of three normalisations and of the embeddings, there and back."""
        settings = setup.settings
        forward = [
            2 * N_VIEWS * width
            for width in (settings.hidden_dim, settings.dim, settings.hidden_dim)
        ]
        if now.phase.name != FINE_TUNING:
            forward.append(N_VIEWS * len(batches.seeds(now.number)) * settings.dim)
        return [*forward, *reversed(forward)]

    def subset(self, inputs: Inputs, setup: Setup[ScgpclSettings]) -> Minibatch:
        """Return the subset of the stability checks, with all genes of its cells."""
        return self.batches(inputs, setup.for_subset()).whole()

    def subset_embedding(self, learner: ScgpclLearner, subset: Minibatch) -> Tensor:
        """Return the embedding of the subset; in fine-tuning its shares in the clusters."""
        genes_mh = learner.encoder.genes(subset.views)[0]
        rows_be = learner.encoder.embed(subset.x_bm, subset.views[0].neighbors_bm, genes_mh)
        return soft_assignment(rows_be, learner.centres) if learner.is_tuned else rows_be

    def embed(
        self, learner: ScgpclLearner, inputs: Inputs, folder: Path, work: Work, *, space: str
    ) -> Embedded:
        """Write the embedding of all cells."""
        embed_all(learner, inputs, folder / f"{space}.npy", work)
        return Embedded((space,))

    def new_cells(
        self, learner: ScgpclLearner, inputs: Inputs, new: NewCells, work: Work
    ) -> NewCellEncoder:
        """Return the encoder for cells of other data."""
        return ScgpclNewCells(learner, inputs, new, work)

    def width(self, settings: ScgpclSettings) -> int:
        """Return the width of the embedding."""
        return settings.dim

    def widest(self, shape: Shape, settings: ScgpclSettings) -> int:
        """Return the width of the widest rows that are held in blocks of cells."""
        return memory.widest(shape, settings)

    def estimates(
        self, shape: Shape, settings: ScgpclSettings, train: TrainSettings, *, space: str
    ) -> Estimates:
        """Return what the stages take."""
        del space
        return memory.estimates(shape, settings, train)


def _of_all_ranks(
    own: tuple[Tensor, Tensor], batch: Minibatch, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Return the embeddings of all ranks' seed cells in both views."""
    if ranks.is_alone:
        return own
    after = batch.n_seeds - batch.first - len(own[0])
    both = torch.stack([pad(view, (0, 0, batch.first, after)) for view in own])
    one, other = ranks.sum(both.flatten()).view_as(both)
    return one, other


def _reconstruction(
    learner: ScgpclLearner, batch: Minibatch, views: tuple[Tensor, Tensor], ranks: Ranks
) -> Tensor:
    """Return the mean over both views, all cells and the drawn genes."""
    total = learner.centres.new_zeros(())
    for hidden_bh in learner.decoder(views, batch.n_seeds, ranks):
        if batch.counts is None:
            total = total + _squared_errors(learner, hidden_bh, batch)
        else:
            heads = learner.decoder.counts(hidden_bh, batch.genes_g)
            total = total + zinb_loss(heads, batch.counts)
    return total / (len(views) * batch.n_seeds * len(batch.genes_g))


def _squared_errors(learner: ScgpclLearner, hidden_bh: Tensor, batch: Minibatch) -> Tensor:
    made_bg = learner.decoder.values(hidden_bh, batch.genes_g)
    return (made_bg - batch.x_bm[:, batch.genes_g]).square().sum()


def _clusters(learner: ScgpclLearner, batch: Minibatch, views: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean divergence of the views from the target that the cells give as they are embedded."""
    encoder, total = learner.encoder, learner.centres.new_zeros(())
    target_bk = _target(learner, batch)
    for view in views:
        shares_bk = soft_assignment(encoder.clustered(view), learner.centres)
        total = total + cluster_loss(shares_bk, target_bk, batch.n_seeds)
    return total / len(views)


@torch.no_grad()
def _target(learner: ScgpclLearner, batch: Minibatch) -> Tensor:
    """Return the sharpened shares of the cells with all columns, by running means and variances."""
    encoder, whole = learner.encoder, replace(batch.views[0], kept_m=None, kept_d=None)
    training = encoder.training
    encoder.eval()
    (genes_mh,) = encoder.genes([whole])
    rows_be = encoder.embed(batch.x_bm, whole.neighbors_bm, genes_mh)
    encoder.train(training)
    return sharpened(soft_assignment(rows_be, learner.centres), learner.sizes)
