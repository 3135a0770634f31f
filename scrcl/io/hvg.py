"""Which genes vary more than genes of their mean do: the Seurat flavour, as scanpy computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, FloatArray

__all__ = ["seurat_hvg"]

_N_BINS = 20


def seurat_hvg(mean: FloatArray, var: FloatArray, *, n_top: int) -> tuple[BoolArray, pd.DataFrame]:
    """Return the highly variable genes, the same as ``scanpy.pp.highly_variable_genes`` gives.

    Parameters
    ----------
    mean, var
        Moments of the normalised values (not their logarithms), float64, shape (n_genes,), over
        the cells that have counts; genes that no cell has are left out beforehand.
    n_top
        Genes wanted. Ties at the cut-off are all taken, and a gene without dispersion (one value in
        all cells) never is, so the number can differ slightly.

    Returns
    -------
    chosen
        Ndarray of bool, shape (n_genes,).
    table
        ``means`` (log1p), ``dispersions`` (log) and ``dispersions_norm``, float64.

    References
    ----------
    Satija et al., Nature Biotechnology 33 (2015) 495-502.
    """
    if n_top < 1:
        raise InputError(f"n_top must be at least 1; got {n_top}.")
    mean = np.where(mean == 0, 1e-12, mean)
    dispersion = var / mean
    dispersion[dispersion == 0] = np.nan
    table = pd.DataFrame({"means": np.log1p(mean), "dispersions": np.log(dispersion)})
    table["dispersions_norm"] = _normalized_dispersions(table)
    if n_top >= len(table):
        return np.ones(len(table), dtype=bool), table
    scores = table["dispersions_norm"].to_numpy()
    ranked = np.sort(scores[~np.isnan(scores)])[::-1]
    if not ranked.size:
        return np.ones(len(table), dtype=bool), table
    cutoff = ranked[min(n_top, ranked.size) - 1]
    return np.nan_to_num(scores, nan=-np.inf) >= cutoff, table


def _normalized_dispersions(table: pd.DataFrame) -> pd.Series:
    """Return each gene's dispersion in standard deviations of its bin of means."""
    bins = pd.cut(table["means"], bins=_N_BINS)
    groups = table["dispersions"].groupby(bins, observed=True)
    average, deviation = groups.transform("mean"), groups.transform("std")
    # A gene alone in its bin scores one, as in Seurat.
    alone = deviation.isna()
    return (table["dispersions"] - average.where(~alone, 0.0)) / deviation.where(~alone, average)
