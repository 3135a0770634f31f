from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scrcl.errors import InputError
from scrcl.io.hvg import seurat_hvg
from scrcl.io.open import from_anndata, open_input
from scrcl.io.stats import compute_stats
from tests.stores import random_counts, table

DATA = sorted(Path(__file__).parents[2].parent.glob("shared/data/*.h5ad"))


def ours(matrix, n_top, block_rows=100):
    stats = compute_stats(matrix.x(block_rows))
    seen = stats.gene_cells > 0
    chosen, table = seurat_hvg(
        stats.moments("linear")[0][seen], stats.moments("linear")[1][seen], n_top=n_top
    )
    return set(matrix.var.index[seen][chosen]), table


def scanpy_choice(adata, n_top, *, is_log=False):
    import scanpy as sc

    adata = adata.copy()
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.filter_genes(adata, min_cells=1)
    if not is_log:
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=n_top)
    return set(adata.var_names[adata.var["highly_variable"]]), adata.var


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_top", [1, 30, 150])
def test_the_genes_are_those_that_scanpy_chooses(seed, n_top):
    adata = table(random_counts(150, 300, seed=seed, density=0.05))
    chosen, found = ours(from_anndata(adata), n_top, block_rows=7 + 20 * seed)
    expected, var = scanpy_choice(adata, n_top)
    assert chosen == expected
    for column in ("means", "dispersions", "dispersions_norm"):
        np.testing.assert_allclose(found[column], var[column], rtol=1e-4, atol=1e-5)


def test_the_genes_of_log_values_are_those_that_scanpy_chooses():
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced().raw.to_adata()
    matrix = from_anndata(adata)
    assert compute_stats(matrix.x(100)).already_log
    assert ours(matrix, 200)[0] == scanpy_choice(adata, 200, is_log=True)[0]


@pytest.mark.parametrize("path", DATA[:3], ids=lambda path: path.stem)
def test_the_genes_of_real_data_are_those_that_scanpy_chooses(path):
    assert ours(open_input([path]), 1000)[0] == scanpy_choice(ad.read_h5ad(path), 1000)[0]


def test_more_genes_than_there_are_gives_all():
    chosen, _ = seurat_hvg(np.arange(1.0, 6), np.arange(5.0), n_top=9)
    assert chosen.all()


def test_genes_without_dispersion_come_last():
    mean, var = np.linspace(1, 2, 40), np.linspace(1, 3, 40)
    var[7] = 0
    chosen, _ = seurat_hvg(mean, var, n_top=39)
    assert not chosen[7]


def test_no_genes_cannot_be_asked_for():
    with pytest.raises(InputError, match="n_top must be at least 1"):
        seurat_hvg(np.ones(3), np.ones(3), n_top=0)
