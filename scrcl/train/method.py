"""What a method is to the rest of the program: from artifacts to an embedding of every cell.

A method is a folder below `scrcl.train.methods` with a class that derives from `Method`, and one line
in the table there. The trainer (`scrcl.train.loop`) decides *when* steps, checks, checkpoints and phases
happen. The method decides *what* a step computes. What the trainer gives it is in
`scrcl.train.setup`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from scrcl._settings import Settings
from scrcl.train.minibatches import Inputs, MinibatchSource
from scrcl.train.optimizer import Adam, Optimizer
from scrcl.train.schedule import schedule_of
from scrcl.train.setup import Phase
from scrcl.train.stop import NeighborsStable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from scrcl._contract import Estimate, Opener, Shape
    from scrcl.graph.links import Links
    from scrcl.prep.stats import MatrixStats
    from scrcl.train.settings import TrainSettings
    from scrcl.train.setup import Setup, Step, Work
    from scrcl.typing import FloatArray

__all__ = [
    "Embedded",
    "Estimates",
    "GeneVectors",
    "Learner",
    "Method",
    "NewCellEncoder",
    "NewCells",
]


SettingsT = TypeVar("SettingsT", bound=Settings)
InputsT = TypeVar("InputsT", bound=Inputs)
BatchT = TypeVar("BatchT")
LearnerT = TypeVar("LearnerT", bound="Learner")


class Learner(nn.Module):
    """Everything that training changes, except the optimizer: weights, buffers, running means.

    Other modules only use its parameters and ``state_dict``, so every module of a method is an attribute
    of its learner. What is neither a parameter nor a buffer goes through ``get_extra_state`` and
    ``set_extra_state``, which `torch.nn.Module` calls for ``state_dict``.
    """

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def step_state(self) -> Any:
        """Return what a step changes before the optimizer runs, as copies: here the buffers.

        A step that runs out of memory is repeated with a smaller mini-batch, from this state.
        """
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def restore_step_state(self, state: Any) -> None:
        """Set what `step_state` returned."""
        with torch.no_grad():
            for name, buffer in self.named_buffers():
                buffer.copy_(state[name])


class Embedded(NamedTuple):
    """What `Method.embed` wrote."""

    spaces: tuple[str, ...]
    """Names of the ``.npy`` files: float32 of shape (n_cells, width), in the order of the cells"""
    labels: NDArray[np.int32] | None = None
    """The method's own clusters, shape (n_cells,), if it has any"""


class GeneVectors(NamedTuple):
    """What a method says about genes: the association of a cell and a gene is the product of their vectors."""

    space: str
    """Name of the ``.npy`` file of `Method.embed` with the vectors of the cells"""
    vectors: FloatArray
    """float, shape (n_genes, width): those of the selected genes"""


class Estimates(NamedTuple):
    """What a method's stages take."""

    inputs: Estimate
    """Writing what it trains on"""
    train: Estimate
    embed: Estimate
    new_cells: Estimate
    """Embedding new cells: ``fixed_bytes`` for the run's cells, ``disk_bytes`` for as many new cells"""


@dataclass(frozen=True)
class NewCells:
    """What `Method.new_cells` works with.

    Attributes
    ----------
    atlas
        Opens artifacts of the finished run.
    own
        Opens artifacts of the new cells.
    space
        The embedding that was clustered.
    scratch
        Empty folder that is removed at the end.
    """

    atlas: Opener
    own: Opener
    space: str
    scratch: Path


class NewCellEncoder(Protocol):
    """Embeds cells that were not trained on."""

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of each embedding that `embed` returns."""

    @property
    def values_per_neighbor(self) -> int:
        """Largest number of values that are held at once for a neighbour; bounds the block size."""

    def embed(self, start: int, stop: int, links: Links) -> Mapping[str, FloatArray]:
        """Return the embeddings of new cells ``start`` to ``stop``, float32 of shape (n, width).

        Parameters
        ----------
        links
            Neighbours of these cells in the run, with the weights of the normalised adjacency.
        """


class Method(ABC, Generic[SettingsT, InputsT, BatchT, LearnerT]):
    """A way from artifacts to an embedding. The methods with a body are defaults to override.

    Attributes
    ----------
    lowers_memory
        Settings besides ``train.minibatch_cells`` that lower the memory of a step, for messages.
    """

    lowers_memory: ClassVar[tuple[str, ...]] = ()

    # Inputs

    def check(self, stats: MatrixStats, settings: SettingsT) -> None:
        """Refuse values or numbers of cells that the method cannot learn from.

        Asked as soon as the input was read once.

        Raises
        ------
        InputError
            With what was wrong and what to do.
        """

    def write_inputs(self, opener: Opener, folder: Path, settings: SettingsT, work: Work) -> None:
        """Write what training reads, if artifacts are not enough."""

    @abstractmethod
    def open_inputs(self, opener: Opener, folder: Path, settings: SettingsT) -> InputsT:
        """Open what `write_inputs` wrote, and artifacts; large arrays as memory maps."""

    # Training

    @abstractmethod
    def start(self, inputs: InputsT, setup: Setup[SettingsT]) -> LearnerT:
        """Return the untrained learner on ``setup.device``, a function of the seed."""

    @abstractmethod
    def batches(self, inputs: InputsT, setup: Setup[SettingsT]) -> MinibatchSource[InputsT, BatchT]:
        """Return the mini-batches of a run; on each rank its parts of them."""

    @abstractmethod
    def step(self, learner: LearnerT, batch: BatchT, now: Step) -> dict[str, Tensor]:
        """Return the weighted loss terms by name, scalars on the device; their sum is minimised.

        Names are the columns of the history. Of several ranks, each returns its part of the terms.
        """

    @abstractmethod
    def subset_embedding(self, learner: LearnerT, subset: BatchT) -> Tensor:
        """Return what the stability checks compare: one row for each cell of the subset."""

    def phases(self, setup: Setup[SettingsT], inputs: InputsT) -> Sequence[Phase]:
        """Return the phases of training, in order: one phase with Adam unless overridden."""
        train = setup.train

        def adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
            return Adam(parameters, lr=train.lr, weight_decay=train.weight_decay)

        stop = NeighborsStable(train.patience) if train.stop == "auto" else None
        return [Phase("train", schedule_of(train, inputs.n_cells), adam, stop)]

    def subset(self, inputs: InputsT, setup: Setup[SettingsT]) -> BatchT:
        """Return the subset of cells for the stability checks, the same on all ranks."""
        return self.batches(inputs, setup.for_subset()).batch(0)

    def exchange(
        self, setup: Setup[SettingsT], batches: MinibatchSource[InputsT, BatchT], now: Step
    ) -> Sequence[int]:
        """Return the sizes of the sums over ranks (`Ranks.sum`) in a step, forward and backward.

        A rank that runs out of memory takes part in the rest of them with zeros, so that no other
        rank waits for it.
        """
        del setup, batches, now
        return ()

    def refresh(
        self, learner: LearnerT, inputs: InputsT, setup: Setup[SettingsT], now: Step
    ) -> None:
        """Update what is computed from many cells between steps: prototypes, targets.

        The result must depend only on the learner, the inputs and the step: after an interruption it is
        called again for the same step.
        """

    # Embedding

    @abstractmethod
    def embed(
        self, learner: LearnerT, inputs: InputsT, folder: Path, work: Work, *, space: str
    ) -> Embedded:
        """Write the embedding ``space`` of all cells into ``folder``, and others if they cost little."""

    def gene_vectors(self, opener: Opener, folder: Path) -> GeneVectors | None:  # noqa: ARG002
        """Return vectors of the selected genes in a space of the cells; None if the method has no such thing.

        Parameters
        ----------
        opener
            Opens artifacts.
        folder
            Holds what `embed` wrote.
        """
        return None

    @abstractmethod
    def new_cells(
        self, learner: LearnerT, inputs: InputsT, new: NewCells, work: Work
    ) -> NewCellEncoder:
        """Return what embeds cells that were not trained on."""

    # Sizes

    @abstractmethod
    def width(self, settings: SettingsT) -> int:
        """Return the width of the embedding, for the memory of clustering."""

    def widest(self, shape: Shape, settings: SettingsT) -> int:
        """Return the width of the widest rows that are held in blocks of cells."""
        return max(shape.n_comps, self.width(settings))

    @abstractmethod
    def estimates(
        self, shape: Shape, settings: SettingsT, train: TrainSettings, *, space: str
    ) -> Estimates:
        """Return what the stages take, from the sizes of the data and the settings."""
