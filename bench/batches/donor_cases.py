"""Cases of the comparison of donors: sets with batches, halves of sets, simulated atlases, and random batches.

============  =================================================================================
sets          sets that have batches, whole
halves        sets without batches, in two halves that have every type; genes differ between them
simulated     ``scrcl simulate --from`` these sets: four donors with an effect, who lack types; one type is of one donor
technologies  sets whose parts are as of other technologies or studies: two mixes of each (`technologies`)
random        sets, and such atlases of one donor, with three batches drawn uniformly: no effect
============  =================================================================================

The last four take at most ``most_cells`` cells of a set. Differences of the halves are those of simulated donors: a
factor of each gene, one of each gene in each type, and one of the depth. Counts are thinned by them, so they stay real
counts. Labels decide here how halves are drawn. No way sees them.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame.labelled import LABELS, batch_column, counted
from bench.accuracy.simulated import write_simulated
from bench.batches.technologies import MIXES, measured, parted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from scrcl.typing import IntArray

__all__ = ["FAMILIES", "Case", "cases_of"]

FAMILIES = ("sets", "halves", "simulated", "technologies", "random")

_MADE = "made"
_SIMULATED = "sample"
_EFFECT = 1.0
_N_DONORS = 4
_MISSING = 0.3
_LEAST_CELLS, _LEAST_TYPES = 450, 4
"""A smaller set is no template: its types would have too few cells to learn from."""


class Case(NamedTuple):
    """Cells with labels, and the column of obs with their batches."""

    family: str
    dataset: str
    cells: AnnData
    column: str


def cases_of(
    path: Path, families: Sequence[str], *, columns: Sequence[str], most_cells: int
) -> Iterator[Case]:
    """Yield the cases that a labelled file gives, in the order of `FAMILIES`."""
    import anndata

    cells, name = anndata.read_h5ad(path), path.stem
    column = batch_column(cells, columns)
    if column is not None and "sets" in families:
        yield Case("sets", name, cells, column)
    if "spatial" in cells.obsm:
        return  # parts of a tissue are no tissue
    seed = zlib.crc32(name.encode())
    some = _some(cells, most_cells, np.random.default_rng(seed))
    if column is None and "halves" in families:
        yield Case("halves", name, _halves(some, seed), _MADE)
    is_large = cells.n_obs >= _LEAST_CELLS and cells.obs[LABELS].nunique() >= _LEAST_TYPES
    is_template = is_large and column is None
    if is_template and "simulated" in families:
        donors = {"n_samples": _N_DONORS, "donor_effect": _EFFECT}
        donors |= {"missing_types": _MISSING, "own_types": 1}
        made = _simulated(path, some.n_obs, seed, donors)
        yield Case("simulated", f"{name}, simulated", made, _SIMULATED)
    if is_large and "technologies" in families:
        for mix in _two_mixes(seed):
            yield Case("technologies", f"{name}, {mix}", _by_technology(some, mix, seed), _MADE)
    if "random" in families:
        yield Case("random", name, _with_random(some, seed), _MADE)
        if is_template:
            made = _simulated(path, some.n_obs, seed, {"n_samples": 1})
            yield Case("random", f"{name}, simulated", _with_random(made, seed), _MADE)


def _some(cells: AnnData, most: int, rng: np.random.Generator) -> AnnData:
    """Return at most so many cells as plain counts with labels."""
    import anndata
    from scipy.sparse import csr_matrix

    rows = np.sort(rng.permutation(cells.n_obs)[:most])
    return anndata.AnnData(
        csr_matrix(cells.X[rows]).astype(np.float32),
        obs=cells.obs[[LABELS]].iloc[rows].astype(str),
        var=cells.var[[]].copy(),
    )


def _with_random(cells: AnnData, seed: int) -> AnnData:
    drawn = np.random.default_rng(seed).integers(3, size=cells.n_obs)
    cells = cells.copy()
    cells.obs[_MADE] = [f"batch {number}" for number in drawn]
    return cells


def _halves(cells: AnnData, seed: int) -> AnnData:
    """Return the cells in two batches that have every type, with genes and depths that differ."""
    rng = np.random.default_rng(seed)
    _, types = np.unique(cells.obs[LABELS], return_inverse=True)
    order = np.lexsort((rng.random(len(types)), types))
    half = np.empty(len(types), np.int64)
    half[order] = (np.arange(len(types)) + rng.integers(2)) % 2
    cells = cells.copy()
    cells.X = _thinned(cells.X, half, types, rng)
    cells.obs[_MADE] = [f"half {number}" for number in half]
    return counted(cells)


def _thinned(counts: Any, half: IntArray, types: IntArray, rng: np.random.Generator) -> Any:
    """Return the counts, drawn one by one with the share that a gene has in this half and type."""
    from scrcl.simulation.donors import DonorSettings, sample_effects

    table = np.stack([np.bincount(types[half == one], minlength=types.max() + 1) for one in (0, 1)])
    n_genes = counts.shape[1]
    effects = sample_effects(table, n_genes, DonorSettings(_EFFECT), rng)
    factors = effects.genes.reshape(2, -1, n_genes) * effects.depth[:, None, None]
    shares = (factors / factors.max(axis=0)).reshape(-1, n_genes)
    thin = counts.tocoo()
    row = effects.rows(half, types)[thin.row]
    kept = rng.binomial(np.rint(thin.data).astype(np.int64), shares[row, thin.col])
    thin.data = kept.astype(np.float32)
    thin = thin.tocsr()
    thin.eliminate_zeros()
    return thin


def _two_mixes(seed: int) -> tuple[str, str]:
    """Return two mixes of technologies. The set chooses them, so that all sets together have every one."""
    names = list(MIXES)
    first, n = seed % len(names), len(names)
    return names[first], names[(first + 1 + seed // n % (n - 1)) % n]


def _by_technology(cells: AnnData, mix: str, seed: int) -> AnnData:
    """Return the cells in parts of uneven sizes, each as a technology of the mix would measure them."""
    import anndata
    from scipy.sparse import vstack

    rng = np.random.default_rng([seed, list(MIXES).index(mix)])
    _, types = np.unique(cells.obs[LABELS], return_inverse=True)
    technologies = MIXES[mix]
    part = parted(types, len(technologies), rng)
    order = np.argsort(part, kind="stable")
    rows = [measured(cells.X[part == at], one, rng) for at, one in enumerate(technologies)]
    made = anndata.AnnData(vstack(rows, format="csr"), obs=cells.obs.iloc[order], var=cells.var)
    made.obs[_MADE] = [technologies[at].name for at in part[order]]
    return counted(made)


def _simulated(path: Path, n_cells: int, seed: int, donors: dict[str, float]) -> AnnData:
    import anndata

    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        file = Path(folder) / "cells.h5ad"
        write_simulated(file, source=path, n_cells=n_cells, seed=seed, **donors)
        return anndata.read_h5ad(file)
