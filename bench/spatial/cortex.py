"""Simulated spots of a cortex, as Visium gives them: curved layers on a hexagonal grid, and all genes.

Layers are unequal in width, and blend over about a spot where they meet. The first 500 genes differ between layers;
their profiles can be estimated from a measured slice (``dlpfc_151510``, whose file has 500 chosen genes). The others
are drawn: few differ between layers, and most are flat. What hides layers in real slices is there too: depth varies
between spots and between layers, some genes follow depth, some follow smooth fields that are no layers, some follow the
cells of a spot, mitochondrial and ribosomal genes have a third of the counts, and genes of blood are high in few spots.

Inside of layers the kinds above vary alike, as a mixture with one covariance supposes. Others do not (`UNEVEN`): types
of cells are mixed in each layer in its own shares, and a layer has its own variances and depths; programs vary in
patches of a few spots, which averages keep; borders are gradual, some more than others, and drawn a spot or two off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray

__all__ = ["KINDS", "N_MEASURED", "UNEVEN", "cortex", "measured_profiles"]

N_MEASURED, N_GENES = 500, 10_000
ROWS, COLUMNS = 70, 50
LAYERS = ("Layer1", "Layer2", "Layer3", "Layer4", "Layer5", "Layer6", "WM")
_WIDTHS = (0.12, 0.08, 0.25, 0.08, 0.17, 0.17, 0.13)
"""Shares of the spots, from the four to five slices that were published with layers; they vary by slice."""

_LIKE_WIDTHS = 60
_BLEND = 0.8
"""Rows of spots over which a layer becomes the next."""

_GRADUAL = (0.5, 1.5, 0.8, 0.8, 1.2, 1.5)
"""Rows over which layers blend at each border, in units of the mean: layers 2 and 3, and white matter, blend most."""

_N_TYPES, _N_PATCHED = 8, 6
_LAYER_DEPTH = (-0.5, 0.0, 0.15, 0.05, 0.05, -0.15, -0.35)
_MEASURED_SHARE = 0.3
_N_MITO, _MITO_SHARE, _N_RIBO, _RIBO_SHARE = 13, 0.2, 80, 0.12
_MITO = slice(N_MEASURED, N_MEASURED + _N_MITO)
_RIBO = slice(_MITO.stop, _MITO.stop + _N_RIBO)
_N_BLOOD, _BLOOD_SPOTS, _BLOOD_FACTOR = 12, 0.04, 30.0
_DISPERSION = 8.0
"""Shape of the gamma that a gene's mean is multiplied with in each spot."""


class Kind(NamedTuple):
    """What a slice is like.

    Attributes
    ----------
    depth, depth_sd
        Median counts of a spot, and the deviation of their logarithm between spots.
    layer
        Strength of the differences between layers.
    layer_share
        Share of layer genes among those that are not measured.
    smooth, cells, with_depth
        Strength of smooth fields that are no layers, of the cells of a spot, and of genes that follow depth.
    blend
        Rows of spots over which a layer becomes the next, on average.
    patches, types
        Strength of programs in patches of a few spots, and of the types of cells in a spot.
    uneven
        Deviation of the logarithm of the variances and depths of layers.
    off
        Rows of spots by which drawn borders miss the true ones.
    """

    depth: float = 2_000
    depth_sd: float = 0.35
    layer: float = 1.0
    layer_share: float = 0.06
    smooth: float = 1.0
    cells: float = 1.0
    with_depth: float = 1.0
    blend: float = _BLEND
    patches: float = 0.0
    types: float = 0.0
    uneven: float = 0.0
    off: float = 0.0


KINDS = {
    "plain": Kind(),
    "fields": Kind(smooth=1.7),
    "cells": Kind(cells=2.0),
    "shallow": Kind(depth=1_000, depth_sd=0.55, with_depth=2.0),
    "faint": Kind(depth=3_500, layer=0.6, layer_share=0.03),
}

UNEVEN = {
    "types": Kind(types=1.0, uneven=0.4),
    "patches": Kind(patches=1.0, uneven=0.4),
    "gradual": Kind(blend=5.0, off=1.5),
    "lifelike": Kind(types=0.7, patches=0.8, uneven=0.4, blend=4.0, off=1.5),
    "lifelike faint": Kind(
        depth=3_500,
        layer=0.7,
        layer_share=0.04,
        types=0.7,
        patches=0.8,
        uneven=0.4,
        blend=4.0,
        off=1.5,
    ),
}
"""Kinds of which layers do not vary alike"""


def cortex(
    kind: str, *, n_genes: int = N_GENES, seed: int = 0, measured: FloatArray | None = None
) -> anndata.AnnData:
    """Return spots: counts, ``obs["cell_type"]`` (the layer) and ``obsm["spatial"]``.

    Parameters
    ----------
    n_genes
        The first of 10,000 genes, or all. A spot has the counts of these genes, so fewer genes are fewer counts.
    measured
        Shares of the measured genes in the counts of each layer, shape (7, 500); drawn if there are none.
    """
    what, rng = (KINDS | UNEVEN)[kind], np.random.default_rng(seed)
    # A generator of its own, so that kinds without these effects stay as they are.
    further = np.random.default_rng([seed, 1])
    coordinates, layer, blend = _layers(rng, what, further)
    logs = _layer_logs(what, rng, measured)
    base = _abundance(rng, measured)
    fields = _fields(coordinates, rng)
    n_spots = len(layer)
    log_depth = what.depth_sd * rng.standard_normal(n_spots) + 0.15 * fields[:, 0]
    log_depth += np.asarray(_LAYER_DEPTH)[layer]
    own = blend @ logs
    own += what.smooth * fields @ _loadings(2, 0.06, 0.35, rng)
    own += what.cells * rng.standard_normal((n_spots, 6)) @ _loadings(6, 0.05, 0.35, rng)
    follows = _loadings(1, 0.05, 0.15, rng)
    follows[:, _MITO] -= 0.25
    own[:, _MITO] += 0.3 * what.smooth * fields[:, 1:]  # how well the tissue was kept
    own[:, _RIBO] -= 0.15 * what.smooth * fields[:, 1:]
    varies = np.exp(what.uneven * further.standard_normal((3, len(LAYERS))))[:, layer, None]
    log_depth += what.depth_sd * (varies[0, :, 0] - 1) * further.standard_normal(n_spots)
    if what.types:
        own += (
            what.types
            * varies[1]
            * _composition(blend, further)
            @ _loadings(_N_TYPES, 0.1, 0.8, further)
        )
    if what.patches:
        own += (
            what.patches
            * varies[2]
            * _patches(coordinates, further)
            @ _loadings(_N_PATCHED, 0.05, 0.35, further)
        )
    own += what.with_depth * (log_depth - log_depth.mean())[:, None] * follows
    mean = base * np.exp(own)
    mean[:, -_N_BLOOD:] *= np.where(
        rng.random((n_spots, 1)) < _BLOOD_SPOTS, _BLOOD_FACTOR, 1.0
    ) * rng.lognormal(0, 0.5, (n_spots, 1))
    mean *= (what.depth * np.exp(log_depth) / mean.sum(axis=1))[:, None]
    mean = mean[:, :n_genes]
    counts = rng.poisson(mean * rng.gamma(_DISPERSION, 1 / _DISPERSION, mean.shape))
    return anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(np.asarray(LAYERS)[layer])},
            index=[f"spot{i}" for i in range(n_spots)],
        ),
        var=pd.DataFrame(index=_names(n_genes)),
        obsm={"spatial": coordinates},
    )


def measured_profiles(cells: anndata.AnnData) -> FloatArray:
    """Return the share of each gene in the counts of each layer, shape (7, n_genes), of a slice with these layers."""
    layers = cells.obs["cell_type"].to_numpy().astype(str)
    sums = np.stack([np.asarray(cells.X[layers == name].sum(axis=0)).ravel() for name in LAYERS])
    sums += 5 * sums.sum(axis=0) / sums.sum()  # few counts show little
    return np.asarray(sums / sums.sum(axis=1, keepdims=True))


def _layers(
    rng: np.random.Generator, what: Kind, further: np.random.Generator
) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Return coordinates, layers, and how much of each layer is in a spot."""
    rows, columns = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    coordinates = np.column_stack([columns + 0.5 * (rows % 2), rows * np.sqrt(0.75)])
    centre = np.array([rng.uniform(0.1, 0.9) * COLUMNS, -rng.uniform(0.3, 1.5) * ROWS])
    offset = coordinates - centre
    depth = np.hypot(*offset.T)
    angle = np.arctan2(offset[:, 0], offset[:, 1])
    depth += 2.0 * np.sin(rng.uniform(4, 9) * angle + rng.uniform(0, 6.3))
    shares = rng.dirichlet(_LIKE_WIDTHS * np.asarray(_WIDTHS))
    ends = np.quantile(depth, np.cumsum(shares)[:-1])
    rows_of = what.blend * (np.asarray(_GRADUAL) if what.blend != _BLEND else np.ones(6))
    over = 1 / (1 + np.exp(-(depth[:, None] - ends) / (rows_of / 2)))
    over = np.concatenate([np.ones((len(depth), 1)), over, np.zeros((len(depth), 1))], axis=1)
    drawn = depth + what.off * _fields(coordinates, further)[:, 0] if what.off else depth
    # Borders of unequal width may cross.
    return coordinates, np.searchsorted(ends, drawn), np.maximum(-np.diff(over, axis=1), 0)


def _composition(blend: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the shares of types of cells in each spot, less their mean; layers have their own shares and mixtures."""
    shares = rng.dirichlet(np.full(_N_TYPES, 0.5), len(LAYERS))
    cells = rng.uniform(3, 20, len(LAYERS))  # few cells vary more
    drawn = rng.gamma(np.maximum((blend @ (shares * cells[:, None])), 1e-3))
    drawn /= drawn.sum(axis=1, keepdims=True)
    return np.asarray(drawn - drawn.mean(axis=0))


def _patches(coordinates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return programs that vary over two to six spots, of unit variance, shape (n_spots, 6)."""
    from scipy.spatial import cKDTree

    tree, found = cKDTree(coordinates), []
    for length in rng.uniform(1.0, 3.0, _N_PATCHED):
        pairs = tree.sparse_distance_matrix(tree, 3 * length).tocsr()
        pairs.data = np.exp(-0.5 * np.square(pairs.data / length))
        noise = rng.standard_normal(len(coordinates))
        field = pairs @ noise + noise  # a spot's distance to itself is not stored
        found.append((field - field.mean()) / field.std())
    return np.column_stack(found)


def _layer_logs(what: Kind, rng: np.random.Generator, measured: FloatArray | None) -> FloatArray:
    """Return the logarithm of each gene's factor in each layer, shape (7, 10,000)."""
    shares = np.where(np.arange(N_GENES) < N_MEASURED, 1.0, what.layer_share)
    shares[_MITO] = shares[_RIBO] = 0
    shares[-_N_BLOOD:] = 0
    patterns = _patterns(rng, N_GENES) * (rng.random(N_GENES) < shares)
    if measured is not None:
        logs = np.log(measured)
        patterns[:, :N_MEASURED] = logs - np.asarray(_WIDTHS) @ logs
    return np.asarray(what.layer * patterns)


def _patterns(rng: np.random.Generator, n: int) -> FloatArray:
    """Return factors of genes that differ: in white matter or the first layer, by depth, or in one layer or two."""
    kinds = rng.choice(4, n, p=(0.35, 0.15, 0.25, 0.25))
    size = rng.gamma(2.0, 0.2, n) * rng.choice((-1.0, 1.0), n, p=(0.4, 0.6))
    at = rng.integers(1, 6, n)
    wide = rng.random(n) < 0.5
    layers = np.arange(len(LAYERS))[:, None]
    return np.asarray(
        np.select(
            [kinds == 0, kinds == 1, kinds == 2],
            [
                1.8 * size * (layers == 6) + 0.3 * size * (layers == 5),
                size * (layers == 0),
                0.5 * size * (layers - 3) / 1.5 * (layers < 6),
            ],
            size * ((layers == at) | (wide & (layers == at + 1) & (layers < 6))),
        )
    )


def _abundance(rng: np.random.Generator, measured: FloatArray | None) -> FloatArray:
    """Return the share of each gene in all counts: a few genes have a third of them."""
    base = rng.lognormal(0, 1.7, N_GENES)
    chosen = slice(0, N_MEASURED)
    if measured is not None:
        base[chosen] = np.asarray(_WIDTHS) @ measured
    rest = slice(_RIBO.stop, N_GENES)
    left = 1 - _MEASURED_SHARE - _MITO_SHARE - _RIBO_SHARE
    for genes, share in (
        (chosen, _MEASURED_SHARE), (_MITO, _MITO_SHARE), (_RIBO, _RIBO_SHARE), (rest, left)
    ):  # fmt: skip
        base[genes] *= share / base[genes].sum()
    return base


def _fields(coordinates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return two smooth fields of unit variance over the slice, shape (n_spots, 2)."""
    unit = coordinates / coordinates.max()
    waves = []
    for _ in range(2):
        turns = rng.normal(0, 4.0, (2, 4))
        wave = np.sin(unit @ turns + rng.uniform(0, 6.3, 4)).sum(axis=1)
        waves.append((wave - wave.mean()) / wave.std())
    return np.column_stack(waves)


def _loadings(n: int, share: float, size: float, rng: np.random.Generator) -> FloatArray:
    """Return by how much genes follow each of ``n`` programs, shape (n, 10,000); most do not."""
    return size * rng.standard_normal((n, N_GENES)) * (rng.random((n, N_GENES)) < share)


def _names(n_genes: int) -> list[str]:
    names = [f"gene{i}" for i in range(N_GENES)]
    names[_MITO] = [f"MT-{i}" for i in range(_N_MITO)]
    return names[:n_genes]
