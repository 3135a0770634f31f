"""Doublet scores by scrublet, as scanpy has it: how many of a cell's neighbours are simulated doublets.

References
----------
Wolock, Lopez, Klein: Scrublet: computational identification of cell doublets in single-cell transcriptomic data. Cell
Systems 2019.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import Csr, FloatArray

__all__ = ["FEWEST_CELLS", "DoubletScores", "doublet_scores", "valley_between_modes"]

FEWEST_CELLS = 50
"""Cells of a sample that is scored: scrublet compares them by 30 components."""

_BINS = 256
_MOST_SMOOTHINGS = 10_000


class DoubletScores(NamedTuple):
    """Scores of the cells of a sample."""

    scores: FloatArray
    """float32, shape (n_cells,), 0 to 1; NaN for cells with fewer than three genes"""
    threshold: float | None
    """cells above it are called doublets; None where the simulated doublets show no two modes"""


def doublet_scores(counts: Csr, *, expected_rate: float, seed: int) -> DoubletScores:
    """Return the doublet scores of the cells of one sample.

    Parameters
    ----------
    counts
        CSR of float32, shape (n_cells, n_genes). Memory: about ten times as much.
    expected_rate
        Share of doublets to expect.
    seed
        From 0 to 2^32 - 1.

    Raises
    ------
    ValueError
        scrublet cannot score the cells, such as those with too few variable genes.
    """
    import anndata
    import pandas as pd
    import scanpy as sc

    names = np.arange(counts.shape[0]).astype(str)
    cells = anndata.AnnData(counts, obs=pd.DataFrame(index=names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas and scanpy, about their own code
        # Without a threshold scanpy needs scikit-image, to find what `valley_between_modes` finds.
        sc.pp.scrublet(
            cells,
            expected_doublet_rate=expected_rate,
            use_approx_neighbors=False,
            threshold=1.0,
            random_state=seed,
            verbose=False,
        )
    scores = cells.obs["doublet_score"].reindex(names).to_numpy(np.float32)
    simulated = np.asarray(cells.uns["scrublet"]["doublet_scores_sim"])
    return DoubletScores(scores, valley_between_modes(simulated))


def valley_between_modes(values: FloatArray) -> float | None:
    """Return the lowest place between the two modes of a histogram, as scikit-image's ``threshold_minimum``.

    The histogram is smoothed until two modes are left. None: there are not two.
    """
    counts, edges = np.histogram(values, _BINS)
    smooth = counts.astype(np.float64)
    for _ in range(_MOST_SMOOTHINGS):
        padded = np.concatenate([smooth[:1], smooth, smooth[-1:]])
        smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        modes = _modes(smooth)
        if len(modes) < 3:
            break
    if len(modes) != 2:
        return None
    at = modes[0] + int(np.argmin(smooth[modes[0] : modes[1] + 1]))
    return float((edges[at] + edges[at + 1]) / 2)


def _modes(heights: FloatArray) -> list[int]:
    """Return where a curve stops rising, plateaus at their ends."""
    steps = np.sign(np.diff(heights))
    modes, rises = [], True
    for at in np.flatnonzero(steps):
        if rises and steps[at] < 0:
            modes.append(int(at))
        rises = steps[at] > 0
    return modes
