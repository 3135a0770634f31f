"""Profiles, depths and dispersions of cell types, estimated from real cells.

The mean of a type would lose the differences between its cells. So each type is halved along its first principal
component, again and again, into pieces of 40 cells or more. The mean profiles of the pieces are the states of the
type. Halving needs no number of clusters and no seed, and each piece is large enough for its mean to be more signal
than sampling noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scrcl.errors import InputError
from scrcl.prep.normalize import log_normalize, row_sums
from scrcl.simulation.profiles import TypeProfiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["template_profiles"]

_MIN_PIECE_CELLS = 40
_MAX_PIECES = 16
_TYPE_PRIOR = 0.2
"""Weight of the type's mean in the profile of a piece, relative to the piece's own counts."""
_GLOBAL_PRIOR_COUNTS = 500.0
"""Counts, in the proportions of all cells, added to those of a type, so that no gene has a share of 0."""
_DISPERSION_PRIOR = 10.0
_MAX_DISPERSION = 10.0
_MIN_DISPERSION = 0.01
_N_QUANTILES = 101
_POWER_STEPS = 20


def template_profiles(
    counts: Csr, labels: Sequence[Any] | pd.Series, genes: pd.Index
) -> tuple[TypeProfiles, IntArray]:
    """Return the profiles of the types, and the number of real cells of each.

    Memory: a copy of the labelled cells in float32.

    Raises
    ------
    InputError
        Labels and cells differ in number, values are not counts, or no cell has both a label and counts.
    """
    from anndata.utils import make_index_unique

    counts, codes, names = _labelled(counts, labels)
    totals = row_sums(counts)
    overall = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    overall /= overall.sum()
    pieces: list[IntArray] = []
    profiles: list[FloatArray] = []
    type_of_piece: list[int] = []
    for kind in range(len(names)):
        cells = np.flatnonzero(codes == kind)
        of_type = _gene_sums(counts, cells) + _GLOBAL_PRIOR_COUNTS * overall
        of_type /= of_type.sum()
        for piece in _pieces(counts, cells):
            sums = _gene_sums(counts, piece)
            profile = sums + _TYPE_PRIOR * sums.sum() * of_type
            profiles.append((profile / profile.sum()).astype(np.float32))
            pieces.append(piece)
            type_of_piece.append(kind)
    sizes = np.bincount(codes, minlength=len(names))
    n_pieces = np.bincount(type_of_piece, minlength=len(names))
    probabilities = np.linspace(0, 1, _N_QUANTILES)
    types = TypeProfiles(
        genes=make_index_unique(pd.Index(genes).astype(str)),
        names=names,
        branches=(),
        profiles=np.stack(profiles),
        starts=np.concatenate([[0], np.cumsum(n_pieces)]).astype(np.int64),
        weights=np.array([len(piece) for piece in pieces]) / sizes[type_of_piece],
        dispersion=_dispersion(counts, totals, pieces),
        log_depth=np.stack(
            [
                np.quantile(np.log(totals[codes == kind]), probabilities)
                for kind in range(len(names))
            ]
        ),
    )
    return types, sizes


def _labelled(
    counts: Csr, labels: Sequence[Any] | pd.Series
) -> tuple[Csr, IntArray, tuple[str, ...]]:
    """Return the cells that have a label and counts, the type of each, and the names of the types."""
    column = pd.Series(np.asarray(labels, dtype=object))
    if len(column) != counts.shape[0]:
        message = (
            f"labels must have one entry for each of the {counts.shape[0]:,} cells; "
            f"got {len(column):,}. Give labels and counts of the same cells."
        )
        raise InputError(message)
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    values = counts.data
    wrong = ~(np.isfinite(values) & (values >= 0) & (values == np.rint(values)))
    if wrong.any():
        message = (
            f"counts must be integers of 0 or more; got {values[wrong][0]:.4g}. "
            "Choose the matrix of counts with `layer`."
        )
        raise InputError(message)
    text = column.astype(str).where(column.notna(), "").str.strip()
    keep = ((text != "") & (row_sums(counts) > 0)).to_numpy()
    if not keep.any():
        message = (
            f"labels must name the type of at least one cell with counts; got none among "
            f"{len(column):,} cells. Choose another column with `labels`."
        )
        raise InputError(message)
    codes, names = pd.factorize(text[keep], sort=True)
    kept = counts if keep.all() else counts[np.flatnonzero(keep)]
    return kept, codes, tuple(names)


def _gene_sums(counts: Csr, cells: IntArray) -> FloatArray:
    sums: FloatArray = np.asarray(counts[cells].sum(axis=0, dtype=np.float64)).ravel()
    return sums


def _pieces(counts: Csr, cells: IntArray) -> list[IntArray]:
    """Return the cells of a type in pieces, ordered along their first principal components."""
    done: list[IntArray] = []
    waiting = [(cells, _MAX_PIECES)]
    while waiting:
        piece, n_most = waiting.pop()
        if n_most == 1 or len(piece) < 2 * _MIN_PIECE_CELLS:
            done.append(piece)
            continue
        order = np.argsort(_first_component(log_normalize(counts[piece])))
        half = len(piece) // 2
        waiting += [(piece[order[half:]], n_most // 2), (piece[order[:half]], n_most // 2)]
    return done


def _first_component(logs: Csr) -> FloatArray:
    """Return the score of each cell on the first principal component, by power iteration.

    The matrix stays sparse: the mean is subtracted from the products, not from the matrix.
    """
    mean = np.asarray(logs.mean(axis=0)).ravel()
    scores: FloatArray = row_sums(logs) - row_sums(logs).mean()
    for _ in range(_POWER_STEPS):
        axis = logs.T @ scores - mean * scores.sum()
        scores = logs @ axis - mean @ axis
        scores /= max(float(np.linalg.norm(scores)), 1e-12)
    return scores


def _dispersion(counts: Csr, totals: FloatArray, pieces: list[IntArray]) -> FloatArray:
    """Return the dispersion of each gene around the means of the pieces: float32, shape (n_genes,).

    Method of moments: the squared deviations beyond those of Poisson counts, divided by the squared means, both summed
    over the cells of all pieces. Genes with few counts are shrunk towards the value of all genes.
    """
    excess = np.zeros(counts.shape[1])
    squares = np.zeros(counts.shape[1])
    for piece in pieces:
        if len(piece) < 2:
            continue
        block, depth = counts[piece], totals[piece]
        shares = _gene_sums(counts, piece) / depth.sum()
        sum_of_squares = np.asarray(block.multiply(block).sum(axis=0, dtype=np.float64)).ravel()
        mean_squares = shares**2 * np.sum(depth**2)
        deviations = sum_of_squares - 2 * shares * (block.T @ depth) + mean_squares
        excess += deviations * len(piece) / (len(piece) - 1) - shares * depth.sum()
        squares += mean_squares
    prior = max(float(excess.sum()), 0.0) / max(float(squares.sum()), 1e-12)
    raw = (excess + _DISPERSION_PRIOR * prior) / (squares + _DISPERSION_PRIOR)
    return np.clip(raw, _MIN_DISPERSION, _MAX_DISPERSION).astype(np.float32)
