"""Stage ``doublets``: doublet scores of the cells of each sample, if asked for.

Doublets are droplets with two cells of one sample. So each sample is loaded and scored alone. The stage comes late,
because no other stage reads the scores: a finished run can get them with ``start="doublets"``, and keeps them with
``start="cluster"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._random import derive_seed, stream
from scrcl._settings import Settings, option
from scrcl.engine.memory import KEPT_BYTES, LIBRARIES_BYTES
from scrcl.engine.stage import AnnDataKeys, Fields, Record, Stage
from scrcl.errors import InputError
from scrcl.io.arrays import stored_array
from scrcl.io.labels import files_of_cells
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Column, Figure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl._contract import Artifact, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["DOUBLET_SCORES", "DoubletsSettings", "DoubletsStage"]

_BYTES_PER_VALUE, _MORE_BYTES = 190, 250 * 10**6
"""For each value of the cells that are scored together, and besides: twice as many doublets are made of them, and both
become dense over the variable genes. Measured with 2,000 and 20,000 cells."""

_CELLS_PER_S = 400
_SHOWN = 60
"""Samples in the report."""

_KEY, _ORDER = "scrcl_doublet_score", "order.npy"

DOUBLET_SCORES: Artifact[FloatArray] = stored_array("doublet scores", "doublets.npy")
"""ndarray of float32, shape (n_cells,): NaN for cells that were not scored."""


class DoubletsSettings(Settings):
    """Doublet scores of the cells."""

    find: bool = option(
        False,
        "--doublets",
        panel="Clusters",
        description="Score each cell as a doublet of two cells of its sample (scrublet).",
    )
    expected_rate: float = Field(
        0.05, gt=0, lt=1, description="Share of doublets to expect in a sample."
    )
    cells: int = Field(
        10_000,
        ge=1_000,
        description="Number of cells that are scored together; larger samples are scored in random parts.",
    )


class SampleDoublets(Fields):
    """Doublets of one sample.

    Attributes
    ----------
    n_scored, n_called
        Cells that have a score, and those above the threshold; None where scrublet finds no threshold.
    n_parts
        Random parts that were scored one by one.
    why_not
        Why the sample, or a part of it, has no scores; empty if it has.
    """

    sample: str
    n_cells: int
    n_scored: int
    n_called: int | None
    median: float | None
    n_parts: int
    why_not: str = ""


class DoubletsRecord(Record):
    """Doublets by sample, and what the samples are: ``batch``, ``sample`` (files), or empty for all cells at once."""

    samples: tuple[SampleDoublets, ...] = ()
    grouped_by: str = ""


class DoubletsStage(Stage[DoubletsRecord]):
    """Scores the cells of each sample."""

    name = "doublets"
    settings = DoubletsSettings
    record = DoubletsRecord
    gives = (DOUBLET_SCORES,)
    redo_settings = ("doublets",)
    owned_obs = (_KEY,)

    def check(self, header: CellMatrix, config: RunConfig) -> None:  # noqa: ARG002
        """Refuse tissues and log values."""
        settings: DoubletsSettings = config.group(self.name)
        if settings.find and config.spatial:
            message = (
                "doublets.find must go with single cells; got it with `spatial=True`, where a spot holds "
                "several cells. Leave one of them out."
            )
            raise InputError(message)
        if settings.find and config.features.values == "log":
            message = (
                "doublets.find must have counts; got features.values log. "
                "Choose a layer of counts by `layer`."
            )
            raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the cells that are scored together, and the doublets made of them."""
        settings: DoubletsSettings = config.group(self.name)
        if not settings.find:
            return Estimate(LIBRARIES_BYTES + KEPT_BYTES * shape.n_cells)
        together = min(shape.n_cells, settings.cells)
        return Estimate(
            LIBRARIES_BYTES + _MORE_BYTES + int(_BYTES_PER_VALUE * shape.values_per_row * together),
            disk_bytes=8 * shape.n_cells,
            read_bytes=shape.input_bytes,
            seconds=4 + shape.n_cells / _CELLS_PER_S,
        )

    def advice(self, config: RunConfig) -> str:
        """Return how to score fewer cells together."""
        return f"lower doublets.cells (now {config.group(self.name).cells:,})"

    def run(self, context: Context, folder: Path) -> DoubletsRecord:
        """Write ``doublets.npy``."""
        settings: DoubletsSettings = context.config.group(self.name)
        stats = context.open(STATS)
        if not settings.find:
            return DoubletsRecord(left_as_is=True)
        if stats.already_log:
            note = (
                "No doublet scores: the values are log values. Choose a layer of counts by `layer`."
            )
            return DoubletsRecord(left_as_is=True, notes=(note,))
        retained = np.flatnonzero(stats.retained)
        scores = np.full(len(retained), np.nan, np.float32)
        on_cells = context.count(self.name, len(retained))
        found = []
        kind, samples = _samples(context, retained)
        for name, cells in samples:
            found.append(_scored(context, settings, name, cells, retained, scores))
            on_cells(len(cells))
        np.save(folder / "doublets.npy", scores)
        np.save(folder / _ORDER, np.concatenate([cells for _, cells in samples]).astype(np.int32))
        return DoubletsRecord(
            n_cells=len(retained), samples=tuple(found), grouped_by=kind, notes=_notes(kind, found)
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the scores. scanpy's own name stays free for a column of the input."""
        return AnnDataKeys(obs={_KEY: np.array(run.open(DOUBLET_SCORES))})

    def section(self, run: OpenRun) -> Section | None:
        """Return the scores and the called cells of each sample."""
        from scrcl.report.spreads import spreads

        record = run.record(DoubletsStage)
        if record.left_as_is:
            return super().section(run)
        has_notes = any(sample.why_not for sample in record.samples)
        columns = (
            Column("sample"),
            Column("cells", "number"),
            Column("scored", "number"),
            Column("called doublets", "number"),
            Column("share called", "share"),
            Column("score (median)", "number"),
            *([Column("note")] if has_notes else []),
        )
        rows = [
            (
                *(s.sample, s.n_cells, s.n_scored, s.n_called),
                None if s.n_called is None else s.n_called / max(s.n_scored, 1),
                s.median,
                *([s.why_not] if has_notes else []),
            )
            for s in record.samples[:_SHOWN]
        ]
        caption = (
            "Doublet scores of scrublet: the share of simulated doublets among the neighbours of a cell, corrected for "
            "the share expected. A cell is called a doublet above the valley between the two modes of the simulated "
            "doublets; where there are not two, none is called. Doublets of two cells of one type are not found."
        )
        return Section(
            "Doublets",
            figures=[
                Figure(spreads("doublet score", _by_sample(run)), "Doublet scores by sample", "svg")
            ],
            table=Table(columns, rows, caption),
            notes=record.notes,
        )


def _by_sample(run: OpenRun) -> list[tuple[str, FloatArray]]:
    """Return the scores of the cells by sample, as the record lists them."""
    record, scores = run.record(DoubletsStage), np.asarray(run.open(DOUBLET_SCORES))
    order = np.asarray(np.load(run.folder.stage(DoubletsStage.name) / _ORDER))
    ends = np.cumsum([sample.n_cells for sample in record.samples])
    parts = np.split(order, ends[:-1])
    found = [(s.sample, scores[part]) for s, part in zip(record.samples, parts, strict=True)]
    return [(name, some[np.isfinite(some)]) for name, some in found[:_SHOWN]]


def _samples(context: Context, retained: IntArray) -> tuple[str, list[tuple[str, IntArray]]]:
    """Return what the samples are, and the cells of each among the retained ones."""
    groups, kind = context.covariates.batches, "batch"
    if groups is None:
        groups, kind = files_of_cells(context.matrix), "sample"
    if groups is None:
        return "", [("all cells", np.arange(len(retained)))]
    return kind, groups.of(retained).groups()


def _scored(
    context: Context,
    settings: DoubletsSettings,
    name: str,
    cells: IntArray,
    retained: IntArray,
    scores: FloatArray,
) -> SampleDoublets:
    """Score the cells of a sample, in random parts if there are many; ``scores`` takes them."""
    from scrcl.prep.doublets import FEWEST_CELLS, doublet_scores

    parts = list(_parts(cells, settings.cells, context.config.seed, name))
    n_called: int | None = None
    why_not = ""
    for number, part in enumerate(parts):
        context.interruption.check()
        if len(part) < FEWEST_CELLS:
            why_not = f"fewer than {FEWEST_CELLS} cells"
            continue
        seed = derive_seed(context.config.seed, f"doublets.{name}", number) % (1 << 32)
        try:
            found = doublet_scores(
                _counts(context, retained[part]), expected_rate=settings.expected_rate, seed=seed
            )
        except ValueError as error:
            why_not = f"scrublet: {error}"
            continue
        scores[part] = found.scores
        if found.threshold is not None:
            n_called = (n_called or 0) + int(np.count_nonzero(found.scores > found.threshold))
    there = scores[cells][np.isfinite(scores[cells])]
    return SampleDoublets(
        sample=name,
        n_cells=len(cells),
        n_scored=len(there),
        n_called=n_called,
        median=float(np.median(there)) if len(there) else None,
        n_parts=len(parts),
        why_not=why_not,
    )


def _parts(cells: IntArray, most: int, seed: int, name: str) -> Iterator[IntArray]:
    """Yield the cells in random parts of about one size, at most ``most`` each; ascending."""
    n_parts = -(-len(cells) // most)
    if n_parts == 1:
        yield cells
        return
    mixed = stream(seed, f"doublets.parts.{name}").permutation(cells)
    for part in np.array_split(mixed, n_parts):
        yield np.sort(part)


def _counts(context: Context, rows: IntArray) -> Csr:
    """Return the values of some cells: CSR of float32."""
    from scipy import sparse

    from scrcl.io.rows import as_csr
    from scrcl.io.stream import blocks_of
    from scrcl.io.subset import some_cells

    some = some_cells(context.matrix, rows, nnz=0, label="a sample", digest="")
    blocks = blocks_of(some.rows(context.budget.block_rows))
    counts = sparse.vstack([as_csr(block.read()) for block in blocks], format="csr")
    counts.sum_duplicates()
    return counts.astype(np.float32)


def _notes(kind: str, samples: list[SampleDoublets]) -> tuple[str, ...]:
    called = [s.n_called for s in samples if s.n_called is not None]
    n_scored = sum(s.n_scored for s in samples)
    share = (
        f"{sum(called) / max(n_scored, 1):.1%} of {n_scored:,} scored cells are called doublets."
    )
    if not called:
        share = f"None of {n_scored:,} scored cells is called a doublet: simulated doublets show no two modes."
    notes = [f"{share} No cell is left out."]
    if not kind:
        notes.append(
            "Doublets were looked for among all cells at once. If they come from several samples, name them by "
            "`batch_key`: cells of two samples make no doublet."
        )
    without = [s.sample for s in samples if s.why_not]
    if without:
        notes.append(
            f"No doublet scores for {', '.join(without[:8])}{' and others' if len(without) > 8 else ''}: "
            f"{next(s.why_not for s in samples if s.why_not)}."
        )
    in_parts = max((s.n_parts for s in samples), default=1)
    if in_parts > 1:
        notes.append(
            f"Large samples were scored in up to {in_parts} random parts (doublets.cells)."
        )
    return tuple(notes)
