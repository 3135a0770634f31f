"""Simulated sections of one tissue from several patients: domains are shared, and everything else differs.

Each section has spots on a grid, as many as it likes, turned by an angle of its own, around the origin as all others:
coordinates of sections overlap. A spot holds a mix of cell types that its domain gives. Patients differ in the factors
of genes, by type too, in depth and in ambient RNA (`scrcl.simulation.donors`), and far more in the type that stands for
a tumour. A section may lack a domain, and one section may have a domain that no other has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from scrcl.simulation.donors import DonorSettings, sample_effects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray

__all__ = ["PATIENT", "patients"]

PATIENT = "patient"
N_TYPES, N_DOMAINS, N_GENES = 9, 6, 2_000
_PATCHES = 2
"""Patches of a domain in a section."""
_SIDES = (18, 26)
"""Least and most rows of a grid."""
_DEPTH = 1_000
_ALIKE = 8
"""How alike the spots of a domain are: parameters of a Dirichlet distribution sum to this."""
_AMBIENT = 0.1
_OWN_SHARE = 0.4
"""Share of the cells of a spot that are of the main type of its domain."""
_TUMOUR_SD = 0.8
"""Deviation of the logs of gene factors of the tumour between patients, at an effect of 1."""
_SHARE_LACKING = 0.15
"""Share of the sections that lack a domain."""


def patients(
    n_sections: int = 8,
    *,
    effect: float = 1.0,
    seed: int = 0,
    n_genes: int = N_GENES,
    alone: int | None = None,
) -> anndata.AnnData:
    """Return spots of sections: counts, ``obs["cell_type"]`` (the domain), ``obs["patient"]``, ``obsm["spatial"]``.

    Parameters
    ----------
    alone
        The section that alone has the last domain; None: any section may have it.
    """
    rng = np.random.default_rng(seed)
    profiles = _profiles(n_genes, rng)
    mixes = rng.dirichlet(np.ones(N_TYPES), N_DOMAINS) * (1 - _OWN_SHARE)
    mixes[np.arange(N_DOMAINS), np.arange(N_DOMAINS)] += _OWN_SHARE
    layouts = [
        _layout(rng, None if alone is None else section == alone) for section in range(n_sections)
    ]
    counts = np.stack([np.bincount(domains, minlength=N_DOMAINS) for _, domains in layouts])
    of_types = np.rint(10 * counts @ mixes).astype(np.int64)
    effects = sample_effects(of_types, n_genes, DonorSettings(effect), rng)
    blocks = []
    for section, (_, domains) in enumerate(layouts):
        rows = effects.rows(np.full(N_TYPES, section), np.arange(N_TYPES))
        own = profiles * effects.genes[rows]
        own[0] *= np.exp(_TUMOUR_SD * effect * rng.standard_normal(n_genes))
        own /= own.sum(axis=1, keepdims=True)
        shares = np.stack([rng.dirichlet(_ALIKE * mixes[domain] + 1e-3) for domain in domains])
        ambient = min(_AMBIENT * float(effects.ambient[section]), 0.9)
        mean = (1 - ambient) * shares @ own + ambient * own.mean(axis=0)
        totals = _DEPTH * effects.depth[section] * rng.lognormal(0, 0.35, size=(len(domains), 1))
        blocks.append(sparse.csr_matrix(rng.poisson(totals * mean).astype(np.float32)))
    sizes = [len(domains) for _, domains in layouts]
    labels = np.concatenate([domains for _, domains in layouts])
    names = [f"section {section}" for section in range(n_sections)]
    return anndata.AnnData(
        sparse.vstack(blocks, format="csr"),
        obs=pd.DataFrame(
            {
                "cell_type": pd.Categorical([f"domain {domain}" for domain in labels]),
                PATIENT: pd.Categorical(np.repeat(names, sizes)),
            },
            index=[f"spot{i}" for i in range(sum(sizes))],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
        obsm={"spatial": np.concatenate([points for points, _ in layouts])},
    )


def _profiles(n_genes: int, rng: np.random.Generator) -> FloatArray:
    """Return the share of each gene in the counts of a type: most genes differ little, some much."""
    base = rng.lognormal(0, 1.5, n_genes)
    differs = rng.random((N_TYPES, n_genes)) < 0.1
    profiles = base * np.exp(differs * rng.normal(0, 1.2, (N_TYPES, n_genes)))
    return np.asarray(profiles / profiles.sum(axis=1, keepdims=True))


def _layout(
    rng: np.random.Generator, has_last: bool | None
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return coordinates of the spots of a section, turned by any angle, and their domains.

    ``has_last`` says whether the last domain is among them; None: it may be.
    """
    height, width = rng.integers(*_SIDES, size=2)
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width)), axis=-1).reshape(-1, 2)
    unit = grid / max(height, width)
    is_there = rng.random(N_DOMAINS) > _SHARE_LACKING
    if has_last is not None:
        is_there[-1] = has_last
    present = np.flatnonzero(is_there)
    sites = rng.random((max(len(present), 2) * _PATCHES, 2)) * unit.max(axis=0)
    kinds = np.resize(present if len(present) > 1 else np.arange(2), len(sites))
    domains = kinds[cKDTree(sites).query(unit)[1]]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (grid - grid.mean(axis=0)) @ turn, domains.astype(np.int64)
