"""What the stage ``correct`` does to component scores: Harmony on a subset, and all cells block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scrcl._group_means import group_means
from scrcl._threads import one_blas_thread
from scrcl.io.arrays import SMALL_MAP_BYTES, RowWriter, gathered, release, row_blocks
from scrcl.prep.batch_effect import WIDE, share_joined

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl.cluster.counterparts import Counterparts
    from scrcl.engine.context import Context
    from scrcl.prep.correction import Correction
    from scrcl.prep.harmony import Fit
    from scrcl.typing import BoolArray, FloatArray, IntArray, OnRows

__all__ = [
    "BLOCK_ROWS",
    "FIT_CELLS",
    "TEST_CELLS",
    "blocks_of",
    "correct_cells",
    "neighbours_among",
    "write_corrected",
]

FIT_CELLS = 100_000
"""Cells that Harmony is fitted on. More are corrected block by block. The number decides the result, so it is the same
for any memory."""

TEST_CELLS = 20_000
"""Cells whose neighbours show whether batches keep apart."""

BLOCK_ROWS = 16_384

_LEAST_JOINED = 0.75
"""Share of the cells that must have other batches around them after Harmony. On simulated sections it was .9 to 1.0, or
.0 to .13 (``bench.spatial.sections``)."""

_LEAST_AGREEMENT = 0.5
"""Agreement from which batches are shifted as a whole. Halves that hold other types had at most .24, and once .42, in
36 draws; batches of the same types that Harmony left apart had .56 or more (``bench.batches.donors``)."""


_Alone: TypeAlias = "Counterparts | BoolArray | None"
"""Which cells are of types that one batch alone has: by their places, or cell by cell; None: no cell is."""


def blocks_of(
    points: FloatArray, codes: IntArray, alone: _Alone = None
) -> Iterator[tuple[FloatArray, IntArray]]:
    """Yield blocks of points and their batches, without those that no other batch has."""
    for start, stop in row_blocks(len(points), BLOCK_ROWS):
        rows, own = np.asarray(points[start:stop]), codes[start:stop]
        left_out = _alone_in(alone, rows, own, start)
        if left_out is not None:
            rows, own = rows[~left_out], own[~left_out]
        yield rows, own
        release(points)


def _alone_in(alone: _Alone, rows: FloatArray, own: IntArray, start: int) -> BoolArray | None:
    """Return which cells of a block are of types that one batch alone has."""
    if alone is None:
        return None
    if isinstance(alone, np.ndarray):
        return alone[start : start + len(rows)]
    return alone.alone(rows, own)


def neighbours_among(points: FloatArray, cells: IntArray, seed: int) -> IntArray:
    """Return the neighbours of some cells among themselves, as `measure_effect` takes them."""
    from scrcl.graph.knn import knn

    # Pages of the map are released even where it is small: late stages would hold them.
    return knn(gathered(points, cells), min(WIDE, len(cells) - 1), seed=seed).ids


def correct_cells(
    context: Context,
    points: FloatArray,
    codes: IntArray,
    folder: Path,
    *,
    may_move: bool = True,
    alone: BoolArray | None = None,
) -> dict[str, Any]:
    """Fit Harmony, write corrected scores, and return what the record holds about it.

    Parameters
    ----------
    points, codes
        float32, shape (n_cells, n_dims), and the batch of each, numbered without gaps.
    folder
        Where ``scores.npy`` and ``correction.npz`` are written.
    may_move
        Batches that stay apart may be shifted as a whole first; slices of a tissue, to one mean.
    alone
        Which cells are of types that one batch alone has, so that they are not joined to others, shape (n_cells,). By
        default these are looked for.
    """
    from scrcl.prep.harmony import refit

    seed, n_batches = context.config.seed, int(codes.max()) + 1
    n_workers = context.budget.n_threads
    cells, fitted, left_out = _to_fit(points, codes, alone, seed=seed, n_workers=n_workers)
    fit, shifts, agreement = _fit(
        fitted,
        codes[cells],
        n_batches,
        may_move=may_move,
        slices=context.config.spatial,
        seed=seed,
        n_workers=n_workers,
    )
    correction = fit.correction
    in_memory = len(points) <= FIT_CELLS
    if not in_memory:

        def blocks() -> Iterator[tuple[FloatArray, IntArray]]:
            for rows, own in blocks_of(points, codes, left_out):
                yield (rows if shifts is None else rows - shifts[own]), own

        correction = refit(correction, blocks, n_batches=n_batches)
    if shifts is not None:
        correction = correction.moved(shifts)
    n_alone = write_corrected(
        points,
        codes,
        correction,
        folder / "scores.npy",
        left_out=left_out,
        on_rows=context.count("correct", len(points)),
    )
    if in_memory:
        _write_rows(folder, cells, fit.corrected)
    correction.save(folder / "correction.npz")
    return {
        "n_corrected": n_batches,
        "share_alone": n_alone / len(points),
        "n_fitted": len(cells),
        "n_rounds": fit.n_rounds,
        "centred": shifts is not None,
        "agreement": agreement,
    }


def _to_fit(
    points: FloatArray, codes: IntArray, alone: BoolArray | None, *, seed: int, n_workers: int
) -> tuple[IntArray, FloatArray, _Alone]:
    """Return the cells that Harmony is fitted on, their points, and the types of one batch that it leaves out."""
    from scrcl.cluster.counterparts import find_counterparts
    from scrcl.graph.divide import partition
    from scrcl.prep.batch_subset import cells_of_every_batch

    order = None
    if len(points) > FIT_CELLS:
        order = partition(points, seed=seed, n_workers=n_workers).order
    cells = cells_of_every_batch(codes, FIT_CELLS, order)
    rows = gathered(points, cells, above=SMALL_MAP_BYTES)
    if alone is not None:
        kept = ~alone[cells]
        return cells[kept], rows[kept], alone if alone.any() else None
    tested = cells[cells_of_every_batch(codes[cells], TEST_CELLS)]
    counterparts = find_counterparts(
        gathered(points, tested, above=SMALL_MAP_BYTES), codes[tested], seed=seed
    )
    kept = ~counterparts.alone(rows, codes[cells])
    if len(np.unique(codes[cells[kept]])) < 2:  # nothing would be left to join
        return cells, rows, None
    return cells[kept], rows[kept], counterparts


def _fit(
    points: FloatArray,
    codes: IntArray,
    n_batches: int,
    *,
    may_move: bool,
    slices: bool,
    seed: int,
    n_workers: int,
) -> tuple[Fit, FloatArray | None, float | None]:
    """Fit Harmony; return also the shifts of the batches, float32, if the points were moved by them before.

    Where batches lie far apart, Harmony starts with a cluster for each, and never joins them. Then they are shifted as
    a whole first. Slices are of one kind of tissue, so most of what parts their means is no biology. Other batches may
    hold other cell types. They are shifted only where their clusters lie alike; how much so is returned too.
    """
    from scrcl.cluster.batch_shifts import match_clusters
    from scrcl.prep.batch_subset import cells_of_every_batch
    from scrcl.prep.harmony import fit_harmony

    def fitted_after(shifts: FloatArray) -> Fit:
        return fit_harmony(points - shifts[codes], codes, n_batches, seed=seed, n_workers=n_workers)

    fit = fit_harmony(points, codes, n_batches, seed=seed, n_workers=n_workers)
    if not may_move:
        return fit, None, None
    tested = cells_of_every_batch(codes, TEST_CELLS)
    near = neighbours_among(fit.corrected, tested, seed)
    if share_joined(near, codes[tested]) >= _LEAST_JOINED:
        return fit, None, None
    if slices:
        means = group_means(points, codes, n_batches).astype(np.float32)
        return fitted_after(means), means, None
    matched = match_clusters(points[tested], codes[tested], n_batches, seed=seed)
    if matched.agreement < _LEAST_AGREEMENT:
        return fit, None, None
    shifts = matched.shifts(points[tested])
    return fitted_after(shifts), shifts, matched.agreement


def write_corrected(
    points: FloatArray,
    codes: IntArray,
    correction: Correction,
    path: Path,
    *,
    left_out: _Alone = None,
    on_rows: OnRows | None = None,
) -> int:
    """Write corrected rows block by block; return the number of cells that no other batch has."""
    n_alone = 0
    with RowWriter(path, *points.shape) as writer, one_blas_thread():
        for start, stop in row_blocks(len(points), BLOCK_ROWS):
            rows, own = np.asarray(points[start:stop]), codes[start:stop]
            alone = _alone_in(left_out, rows, own, start)
            writer.write(start, correction.corrected(rows, own, alone))
            n_alone += 0 if alone is None else int(alone.sum())
            release(points)
            if on_rows is not None:
                on_rows(stop - start)
    return n_alone


def _write_rows(folder: Path, cells: IntArray, rows: FloatArray) -> None:
    """Replace rows of ``scores.npy``, which is small enough to be in memory."""
    scores = np.load(folder / "scores.npy")
    scores[cells] = rows
    np.save(folder / "scores.npy", scores)
