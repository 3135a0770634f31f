from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrcl.errors import InputError
from scrcl.io.open import from_anndata
from scrcl.prep.batch_moments import BatchMoments, pooled_moments
from scrcl.prep.clipped_variance import clip_sums
from scrcl.prep.compute_stats import compute_stats
from scrcl.prep.hvg import highly_variable
from tests.stores import random_counts, table

_BY_SIZE = sorted(
    Path(__file__).parents[2].parent.glob("shared/data/*.h5ad"),
    key=lambda path: path.stat().st_size,
)
DATA = _BY_SIZE[::6]
"""Real data where it is there: a few sets of every size, since each takes scanpy some seconds."""
FLAVORS = ["seurat", "cell_ranger", "seurat_v3"]
FLOATS = ["means", "dispersions", "dispersions_norm", "variances", "variances_norm"]


def scanpy_choice(adata, flavor, n_top, *, is_log=False):
    """Return the values that scanpy gets, after its gene filter, and its table of highly variable genes."""
    import scanpy as sc

    adata = adata.copy()
    sc.pp.filter_genes(adata, min_cells=1)
    if flavor != "seurat_v3" and not is_log:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cells without counts
            sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    found = adata.copy()
    batch_key = "batch" if "batch" in adata.obs else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer genes than asked for; logarithms of rounding errors
        sc.pp.highly_variable_genes(found, n_top_genes=n_top, flavor=flavor, batch_key=batch_key)
    return adata, found.var


def moments(values, codes, flavor):
    """Return the moments of each batch from the whole matrix, with float32 squares as in scanpy."""
    x = sparse.csr_matrix(values)
    x = x.expm1() if flavor == "seurat" else x
    batches = []
    for code in range(codes.max() + 1):
        rows = x[codes == code]
        n = rows.shape[0]
        mean = rows.astype(np.float64).sum(axis=0).A1 / max(n, 1)
        square = rows.multiply(rows).astype(np.float64).sum(axis=0).A1 / max(n, 1)
        var = (square - mean**2) * (n / max(n - 1, 1))
        batches.append(BatchMoments(n, rows.getnnz(axis=0), mean, var, f"batch {code}"))
    return batches


def naive_clip_sums(values, codes):
    """Return a function that sums clipped values, one batch after another."""

    def clipped(limits):
        sums, squares = np.zeros(limits.shape), np.zeros(limits.shape)
        for code, limit in enumerate(limits):
            rows = np.minimum(values[codes == code].toarray().astype(np.float64), limit)
            sums[code], squares[code] = rows.sum(axis=0), (rows**2).sum(axis=0)
        return sums, squares

    return clipped


def codes_of(adata):
    if "batch" not in adata.obs:
        return np.zeros(adata.n_obs, dtype=int)
    return adata.obs["batch"].astype("category").cat.codes.to_numpy().astype(int)


def ours(adata, flavor, n_top, *, scanpy_input):
    """Return the genes that scrcl selects, from moments of the values that scanpy gets."""
    values, codes = sparse.lil_matrix(adata.shape, dtype=np.float32), codes_of(adata)
    values[:, adata.var_names.get_indexer(scanpy_input.var_names)] = scanpy_input.X
    values = values.tocsr()
    clipped = naive_clip_sums(values, codes)
    if flavor == "seurat_v3":
        x = from_anndata(adata).x(70)

        def clipped(limits):
            return clip_sums(x, limits, codes, len(limits))

    return highly_variable(
        flavor,
        moments(values, codes, flavor),
        n_top=n_top,
        clip_sums=clipped,
        gene_names=adata.var_names,
    )


def assert_as_scanpy(adata, flavor, n_top, *, is_log=False):
    scanpy_input, var = scanpy_choice(adata, flavor, n_top, is_log=is_log)
    selected, found = ours(adata, flavor, n_top, scanpy_input=scanpy_input)
    assert set(adata.var_names[selected]) == set(var.index[var["highly_variable"]])
    assert (selected == found["highly_variable"]).all()
    seen = adata.var_names.isin(var.index)
    assert set(found) == set(var) - {"n_cells"}
    assert not selected[~seen].any()
    for column in found:
        if column in FLOATS:
            assert found[column][~seen].isna().all()
            tolerance = {"rtol": 1e-5, "atol": 1e-6}
            np.testing.assert_allclose(found[column][seen], var[column], **tolerance)
        else:
            np.testing.assert_array_equal(found[column][seen], var[column])


def make_batches(adata, n_batches, *, seed=0, absent=0.2):
    """Give the cells random batches of unequal sizes, each lacking some of the genes."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1.0, n_batches + 1)
    codes = rng.choice(n_batches, size=adata.n_obs, p=shares / shares.sum())
    codes[:n_batches] = range(n_batches)
    present = rng.random((n_batches, adata.n_vars)) >= absent
    adata = table(sparse.csr_matrix(adata.X.multiply(present[codes])))
    filled = adata.X.getnnz(axis=1) > 0
    adata.obs["batch"] = pd.Categorical([f"b{code}" for code in codes])
    return adata[filled].copy()


@pytest.mark.parametrize("sizes", [[7], [5, 9], [1, 4, 3]])
def test_pooled_moments_are_those_of_all_cells(sizes):
    values = np.random.default_rng(0).gamma(1, size=(sum(sizes), 6))
    parts = np.split(values, np.cumsum(sizes)[:-1])
    batches = [
        BatchMoments(
            len(part),
            np.full(6, len(part)),
            part.mean(axis=0),
            part.var(axis=0, ddof=1) if len(part) > 1 else np.zeros(6),
        )
        for part in parts
    ]
    mean, var = pooled_moments(batches)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(var, values.var(axis=0, ddof=1))


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("n_batches", [1, 3])
@pytest.mark.parametrize(("seed", "n_top"), [(0, 1), (1, 50), (2, 150), (3, 290)])
def test_selected_genes_equal_those_of_scanpy(flavor, n_batches, seed, n_top):
    adata = table(random_counts(400, 300, seed=seed, density=0.3))
    if n_batches > 1:
        adata = make_batches(adata, n_batches, seed=seed)
    assert_as_scanpy(adata, flavor, n_top)


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("n_batches", [1, 4])
def test_asking_for_more_genes_than_there_are_selects_what_scanpy_selects(flavor, n_batches):
    adata = table(random_counts(500, 150, density=0.3))
    if n_batches > 1:
        adata = make_batches(adata, n_batches)
    assert_as_scanpy(adata, flavor, 151)


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
@pytest.mark.parametrize("n_top", [20, 60, 110])
def test_ties_at_the_cut_off_are_resolved_as_in_scanpy(flavor, n_top):
    counts = random_counts(160, 40, density=0.4)
    adata = table(sparse.hstack([counts[counts.getnnz(axis=1) > 0]] * 3, format="csr"))
    assert_as_scanpy(adata, flavor, n_top)
    adata.obs["batch"] = pd.Categorical(np.arange(adata.n_obs) % 3)
    assert_as_scanpy(adata, flavor, n_top)


@pytest.mark.parametrize("n_top", [20, 60, 110, 299])
def test_equal_ranks_are_ordered_as_in_scanpy(n_top):
    counts = random_counts(200, 100, density=0.4)
    adata = table(sparse.hstack([counts] * 3, format="csr"))
    assert_as_scanpy(adata, "seurat_v3", n_top)
    adata.obs["batch"] = pd.Categorical(np.arange(200) % 3)
    assert_as_scanpy(adata, "seurat_v3", n_top)


@settings(max_examples=20)
@given(
    st.sampled_from(["seurat", "cell_ranger"]),
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 130),
)
def test_any_counts_select_what_scanpy_selects(flavor, seed, n_batches, n_top):
    adata = table(random_counts(90, 120, seed=seed, density=0.25))
    adata = adata[adata.X.getnnz(axis=1) > 0].copy()
    if n_batches > 1:
        adata = make_batches(adata, n_batches, seed=seed)
    try:
        scanpy_choice(adata, flavor, n_top)
    except (ValueError, IndexError):  # bins of one mean, or a batch that scanpy cannot do
        assume(False)
    assert_as_scanpy(adata, flavor, n_top)


def test_genes_selected_from_log_values_equal_those_of_scanpy():
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced().raw.to_adata()
    adata.obs = adata.obs[["phase"]].rename(columns={"phase": "batch"})
    for flavor in ("seurat", "cell_ranger"):
        assert_as_scanpy(adata, flavor, 200, is_log=True)


@pytest.mark.parametrize("seed", range(3))
def test_streamed_moments_select_the_same_genes(seed):
    adata = table(random_counts(150, 300, seed=seed, density=0.05))
    adata = adata[adata.X.getnnz(axis=1) > 0].copy()
    assert streamed_choice(adata, 80) == whole_choice(adata, 80)


def streamed_choice(adata, n_top):
    stats = compute_stats(from_anndata(adata).x(40))
    cells = int(stats.retained.sum())
    batch = BatchMoments(cells, stats.gene_cells, *stats.moments("linear"))
    return set(adata.var_names[highly_variable("seurat", [batch], n_top=n_top)[0]])


def whole_choice(adata, n_top):
    var = scanpy_choice(adata, "seurat", n_top)[1]
    return set(var.index[var["highly_variable"]])


@pytest.mark.parametrize("n_batches", [1, 3])
def test_variance_selects_the_genes_of_the_largest_variance_over_all_cells(n_batches):
    adata = table(random_counts(90, 120, density=0.2))
    codes = np.arange(90) % n_batches
    selected, found = highly_variable("variance", moments(adata.X, codes, "variance"), n_top=30)
    expected = adata.X.toarray().astype(np.float64).var(axis=0, ddof=1)
    assert selected.sum() == 30
    assert expected[selected].min() >= expected[~selected].max()
    seen = adata.X.getnnz(axis=0) > 0
    np.testing.assert_allclose(found["variances"][seen], expected[seen], rtol=1e-6)


def real_cells(path):
    adata = ad.read_h5ad(path)
    adata = table(sparse.csr_matrix(adata.X, dtype=np.float32))
    return adata[adata.X.getnnz(axis=1) > 0].copy()


@pytest.mark.slow
@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_genes_selected_from_real_data_equal_those_of_scanpy(path):
    adata = real_cells(path)
    n_top = min(2000, adata.n_vars // 2)
    assert streamed_choice(adata, n_top) == whole_choice(adata, n_top)
    rng = np.random.default_rng(0)
    batch = pd.Categorical(rng.choice(["x", "y", "z"], adata.n_obs, p=[0.6, 0.3, 0.1]))
    for columns in ({}, {"batch": batch}):
        adata.obs = pd.DataFrame(columns, index=adata.obs_names)
        assert_as_scanpy(adata, "seurat", n_top)
        assert_as_scanpy(adata, "cell_ranger", n_top)
        assert_as_scanpy_or_refused(adata, "seurat_v3", n_top)
        common = adata[:, adata.X.getnnz(axis=0) >= 30].copy()
        assert_as_scanpy(common, "seurat_v3", min(n_top, common.n_vars // 2))


def assert_as_scanpy_or_refused(adata, flavor, n_top):
    """Where most genes are those of one cell or two, the regression fails, and scanpy with it."""
    try:
        scanpy_choice(adata, flavor, n_top)
    except ValueError:
        with pytest.raises(InputError, match="seurat_v3"):
            ours(adata, flavor, n_top, scanpy_input=adata)
    else:
        assert_as_scanpy(adata, flavor, n_top)


def some_moments(n_genes=60, *, n_cells=50, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.gamma(2, 1, n_genes)
    var = mean * rng.gamma(2, 1, n_genes)
    return BatchMoments(n_cells, np.full(n_genes, n_cells), mean, var)


def no_cells(n_genes=60):
    return BatchMoments(0, np.zeros(n_genes, dtype=int), np.zeros(n_genes), np.zeros(n_genes))


def one_cell(n_genes=60):
    has = np.arange(n_genes) % 2
    noise = np.random.default_rng(0).random((2, n_genes)) * has
    return BatchMoments(1, has, 3 * noise[0], 1e-9 * noise[1])


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_a_batch_without_cells_is_ignored(flavor):
    two = [some_moments(seed=1), some_moments(seed=2)]
    expected = highly_variable(flavor, two, n_top=9)[1]
    found = highly_variable(flavor, [two[0], no_cells(), two[1]], n_top=9)[1]
    pd.testing.assert_frame_equal(found, expected)


def test_clipped_sums_are_those_of_their_batch_where_another_has_no_cells():
    values, codes = random_counts(200, 60), np.arange(200) % 2
    tables = [
        highly_variable(
            "seurat_v3",
            moments(values, numbers, "seurat_v3"),
            n_top=9,
            clip_sums=naive_clip_sums(values, numbers),
        )[1]
        for numbers in (codes, 2 * codes)
    ]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_a_batch_of_one_cell_selects_no_genes(flavor):
    alone, _ = highly_variable(flavor, [some_moments(), no_cells()], n_top=9)
    selected, found = highly_variable(flavor, [some_moments(), one_cell()], n_top=9)
    assert (selected == alone).all()
    assert found["highly_variable_nbatches"].max() == 1
    assert not found["highly_variable_intersection"].any()


@pytest.mark.parametrize("batches", [[one_cell()], [one_cell(), one_cell()]])
@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_constant_genes_are_refused(flavor, batches):
    with pytest.raises(InputError, match="genes must vary"):
        highly_variable(flavor, batches, n_top=5)


def test_genes_without_dispersion_come_last():
    batch = some_moments(40)
    batch.var[7] = 0
    selected, _ = highly_variable("seurat", [batch], n_top=40)
    assert not selected[7]
    assert selected.sum() == 39


def test_excluded_genes_are_never_selected():
    batch = some_moments()
    batch.gene_cells[::3] = 0
    selected, found = highly_variable("seurat", [batch], n_top=60)
    assert not selected[::3].any()
    assert found["means"].isna().sum() == 20


def test_cells_without_counts_are_refused():
    with pytest.raises(InputError, match="batches must"):
        highly_variable("seurat", [no_cells(), no_cells()], n_top=3)


def test_asking_for_no_genes_is_refused():
    with pytest.raises(InputError, match="n_top must be at least 1; got"):
        highly_variable("seurat", [some_moments()], n_top=0)


@pytest.mark.parametrize("n_genes", [1, 3, 12])
def test_too_few_varying_genes_name_the_batch(n_genes):
    batch = BatchMoments(30, np.ones(n_genes), np.ones(n_genes), np.ones(n_genes), "donor 7")
    with pytest.raises(InputError, match=rf"got {n_genes}\b.*donor 7"):
        highly_variable("seurat_v3", [batch], n_top=3, clip_sums=lambda limits: (limits, limits))
