"""Stage ``read``: open the input, and copy one that is stored by genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Estimate
from scrcl.engine.describe import note_on_join
from scrcl.engine.memory import STREAM_BYTES
from scrcl.engine.orientation import rows_note
from scrcl.engine.stage import Record, Stage
from scrcl.markers.listed import id_that_is_shown
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["ReadStage"]

_COPY_BYTES = 64 << 20
_COPIED_VALUES_PER_S = 2e6


class ReadRecord(Record):
    """What the header of the input holds.

    Attributes
    ----------
    repeated_genes
        Unique names of genes whose names in the input repeat.
    """

    label: str
    n_genes: int
    layout: str
    dtype: str
    stored_values: int | None
    chunk_rows: int | None
    repeated_genes: tuple[str, ...] = ()


class ReadStage(Stage[ReadRecord]):
    """Opens the input. One that cannot be streamed by rows is rewritten by rows into the folder.

    Parameters
    ----------
    shows_genes
        Whether the result lists genes: not in a prediction.
    """

    name = "read"
    record = ReadRecord
    is_cheap = True

    def __init__(self, *, shows_genes: bool = True) -> None:
        self._shows_genes = shows_genes

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return what opening takes, and the copy of an input that is stored by genes."""
        by_genes = shape.is_column_major
        copied = shape.n_values / _COPIED_VALUES_PER_S if by_genes else 0.0
        return Estimate(
            STREAM_BYTES,
            _COPY_BYTES if by_genes else 0,
            disk_bytes=int(8 * shape.n_values) if by_genes else 0,
            read_bytes=2 * shape.input_bytes if by_genes else 0,
            seconds=0.1 + 8e-7 * shape.n_cells + copied,
        )

    def run(self, context: Context, folder: Path) -> ReadRecord:
        """Open the input, and check that its annotations can be read at the end of the run."""
        matrix = context.open_matrix(folder)
        matrix.check_obs()
        if matrix.layout == "csc":
            matrix.x(context.budget.block_rows)  # the first access to rows writes the copy
        of_genes = (rows_note(matrix), ids_note(matrix.var) if self._shows_genes else None)
        early = (*(note for note in of_genes if note is not None), *context.covariates.notes)
        for note in early:
            context.reporter.note(note)  # shown now, too: the work that follows is long
        of_samples = note_on_join(matrix)
        # Of a tissue, the notes of its coordinates say what several inputs are.
        if (
            of_samples is not None
            and context.config.batch_key is None
            and not context.config.spatial
        ):
            of_samples += (
                " If they are batches (donors, libraries, studies), correct for them with "
                '`batch_key="sample"`.'
            )
        return ReadRecord(
            n_cells=matrix.n_obs,
            label=matrix.label,
            n_genes=matrix.n_vars,
            layout=matrix.layout,
            dtype=str(matrix.dtype),
            stored_values=matrix.nnz,
            chunk_rows=matrix.chunk_rows,
            repeated_genes=matrix.repeated_genes,
            notes=early if of_samples is None else (*early, of_samples),
        )

    def section(self, run: OpenRun) -> Section:
        """Return the input's name for the overview, and what its slices are."""
        record, key = run.record(ReadStage), run.config.sample_key
        slices = {} if key is None else {"column of the slices": key}
        return Section("Input", overview={"input": record.label, **slices}, notes=record.notes)

    def for_new_cells(self, run: OpenRun) -> ReadStage:  # noqa: ARG002
        """Return the same stage: new cells are opened like any input."""
        return ReadStage(shows_genes=False)


def ids_note(var: pd.DataFrame) -> str | None:
    """Return a note if genes are shown by their ids, for want of symbols."""
    first = id_that_is_shown(var)
    if first is None:
        return None
    return (
        f"Genes are shown by their ids, such as {first}: neither their names nor a column of var has symbols. To see "
        'symbols, add them as a column of var, such as adata.var["gene_symbols"], and run again.'
    )
