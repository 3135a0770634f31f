"""What the layers agree on: artifacts that one stage leaves for another, sizes of the data, and estimates."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Artifact", "Estimate", "Opener", "Shape", "loaded_by"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Artifact(Generic[T]):
    """A typed output of a stage. The layer that owns the type defines the artifact.

    Readers ask for the artifact and not for the stage, so a new stage that gives it too (corrected components,
    for example) changes no reader.

    Attributes
    ----------
    name
        What it is, for messages: "components".
    load
        Reads it from the folder of the stage that gives it. Large arrays are memory maps.
    """

    name: str
    load: Callable[[Path], T]


def loaded_by(loader: str, file: str = "") -> Callable[[Path], Any]:
    """Return what reads an artifact: ``module:function`` of ``file`` in the folder of the stage, or of the folder.

    The module is imported when the artifact is read, since artifacts are named everywhere.
    """

    def load(folder: Path) -> Any:
        return resolve_name(loader)(folder / file)

    return load


class Opener(Protocol):
    """Opens artifacts of finished stages."""

    def open(self, artifact: Artifact[T]) -> T:
        """Return what the last stage that gives ``artifact`` wrote.

        Raises
        ------
        StoreError
            It is missing or damaged.
        """


@dataclass(frozen=True)
class Shape:
    """Sizes of the data, known from the header of the input. Memory, block sizes and times derive from them.

    Attributes
    ----------
    n_cells, n_vars, values_per_row
        Cells and genes of the input, and stored values of X in a cell.
    n_genes, n_comps
        Selected genes and principal components.
    n_neighbors
        Neighbours that are searched for each cell.
    n_batches
        Biological batches.
    input_bytes, is_column_major
        Bytes of the input files, and whether they are stored by genes (CSC) and copied by cells first.
    """

    n_cells: int
    n_vars: int
    values_per_row: float
    n_genes: int
    n_comps: int
    n_neighbors: int
    n_batches: int = 1
    is_column_major: bool = False
    input_bytes: int = 0

    @property
    def n_values(self) -> float:
        """Stored values of X."""
        return self.n_cells * self.values_per_row

    @property
    def x_bytes(self) -> int:
        """Bytes that one read of X takes: from the input, or from its copy by cells."""
        return int(8 * self.n_values) if self.is_column_major else self.input_bytes


@dataclass(frozen=True)
class Estimate:
    """What a stage takes: one row of ``scrcl plan``.

    Attributes
    ----------
    fixed_bytes
        Memory held all along: libraries, and what grows with the number of cells.
    block_bytes
        Memory for each loaded block of rows; in training, for a mini-batch.
    shared
        Blocks are shared out to workers, as many as fit.
    disk_bytes
        Left in the folder of the stage.
    read_bytes
        Read by system calls or through memory maps.
    seconds, shared_seconds
        Time on one core, and time that all workers share. Measured on the cores of ``bench/results``: other machines
        differ, the ratios of stages less.
    """

    fixed_bytes: int
    block_bytes: int = 0
    shared: bool = False
    disk_bytes: int = 0
    read_bytes: int = 0
    seconds: float = 0.0
    shared_seconds: float = 0.0

    @property
    def least_bytes(self) -> int:
        """The smallest memory that is enough."""
        return self.fixed_bytes + self.block_bytes

    def peak_bytes(self, n_workers: int) -> int:
        """Peak resident memory with ``n_workers``."""
        return self.fixed_bytes + self.block_bytes * (n_workers if self.shared else 1)

    def all_seconds(self, n_threads: int) -> float:
        """Time with ``n_threads``."""
        return self.seconds + self.shared_seconds / n_threads
