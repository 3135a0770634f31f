"""Cases of 100 to 400 cells: many types of about ten cells, two to four types, one type, one profile.

================  =================================================================================
sparse            all types of a set with six or more, a few cells of each: as in `DRAWS`
sparse_few        two to four of its types, of unlike sizes, `FEWEST` to 300 cells in all
sparse_one        one of its two largest types: one cluster is right
sparse_poisson    counts of one profile at the totals of some cells: one cluster is right
================  =================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from bench._frame.labelled import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from scrcl.typing import IntArray

__all__ = ["SPARSE", "one_profile", "sparse_versions"]

SPARSE = ("sparse", "sparse_few", "sparse_one", "sparse_poisson")

DRAWS = ((4, 20), (8, 15), (4, 40))
"""Fewest and most cells of a type, for each draw of ``sparse``."""
FEWEST_TYPES = 6
FEWEST = 100
MOST = 400
LEAST_CELLS = 4
N_FEW_DRAWS = 2


def sparse_versions(cells: AnnData, *, seed: int) -> Iterator[tuple[str, AnnData]]:
    """Yield the family and the cells of each case of a set; ``cells`` are counts with labels."""
    rng = np.random.default_rng([seed, 1])
    types = cells.obs[LABELS].astype(str).to_numpy()
    names, sizes = np.unique(types, return_counts=True)
    inside = {name: np.flatnonzero(types == name) for name in names[sizes >= LEAST_CELLS]}
    if len(inside) >= FEWEST_TYPES:
        for least, most in DRAWS:
            wanted = rng.integers(least, most + 1, len(inside)).astype(float)
            yield "sparse", _drawn(cells, list(inside.values()), wanted, rng)
    larger = [name for name in inside if len(inside[name]) >= FEWEST // 5]
    for _ in range(N_FEW_DRAWS * (len(larger) > 1)):
        some = rng.permutation(larger)[: rng.integers(2, 5)]
        shares = rng.dirichlet(np.full(len(some), 2.0))
        wanted = np.maximum(shares * rng.integers(FEWEST, 301), FEWEST // 10)
        yield "sparse_few", _drawn(cells, [inside[name] for name in some], wanted, rng)
    for name in names[np.argsort(-sizes, kind="stable")][:2]:
        if len(inside.get(name, ())) >= FEWEST:
            wanted = np.array([float(rng.integers(FEWEST, MOST + 1))])
            yield "sparse_one", _drawn(cells, [inside[name]], wanted, rng)
    n = min(int(rng.integers(FEWEST, MOST + 1)), cells.n_obs)
    yield "sparse_poisson", one_profile(cells[rng.permutation(cells.n_obs)[:n]].copy(), rng)


def _drawn(
    cells: AnnData, inside: list[IntArray], wanted: np.ndarray, rng: np.random.Generator
) -> AnnData:
    """Return about ``wanted`` cells of each type, more if fewer than `FEWEST` in all and there are more."""
    available = np.array([len(rows) for rows in inside])
    sizes = np.minimum(wanted, available)
    while sizes.sum() < FEWEST and (sizes < available).any():
        sizes = np.minimum(sizes * 1.1, available)
    parts = [rng.permutation(rows)[: round(size)] for rows, size in zip(inside, sizes, strict=True)]
    return cells[np.sort(np.concatenate(parts))].copy()


def one_profile(cells: AnnData, rng: np.random.Generator) -> AnnData:
    """Give cells Poisson counts of their common profile, at their own totals."""
    totals = np.asarray(cells.X.sum(axis=1), np.float64)
    profile = np.asarray(cells.X.sum(axis=0), np.float64)
    drawn = rng.poisson(totals.reshape(-1, 1) * profile.reshape(1, -1) / profile.sum())
    cells.X = csr_matrix(drawn.astype(np.float32))
    cells.obs[LABELS] = "one"
    return cells
