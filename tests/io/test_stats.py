from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.io.normalize import log_normalize, row_sums
from scrcl.io.open import from_anndata
from scrcl.io.stats import MatrixStats, compute_stats
from tests import reference_io as reference
from tests.stores import random_counts, table

small_counts = nps.arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 6)),
    elements=st.integers(0, 400).map(lambda n: float(n if n < 60 else 0)),
)


def rows(values, block_rows=5):
    return from_anndata(table(sparse.csr_matrix(values.astype(np.float32)))).x(block_rows)


@given(small_counts, st.integers(1, 13))
@settings(max_examples=60, deadline=None)
def test_statistics_of_counts_equal_those_of_the_whole_matrix(counts, block_rows):
    stats = compute_stats(rows(counts, block_rows))
    filled = counts.sum(axis=1) > 0
    np.testing.assert_array_equal(stats.cell_counts, counts.sum(axis=1))
    np.testing.assert_array_equal(stats.cell_genes, (counts > 0).sum(axis=1))
    np.testing.assert_array_equal(stats.gene_cells, (counts > 0).sum(axis=0))
    np.testing.assert_array_equal(stats.gene_counts, counts.sum(axis=0))
    assert stats.is_counts
    assert not stats.already_log
    assert stats.n_nonzero == (counts > 0).sum()
    assert stats.max_value == counts.max()
    if filled.sum() > 1:
        mean, var = reference.moments(np.expm1(reference.log_normalized(counts)), filled)
        np.testing.assert_allclose(stats.gene_mean, mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats.gene_var, var, rtol=1e-4, atol=1e-6 * (mean**2).max())


@given(small_counts)
@settings(max_examples=30, deadline=None)
def test_log_normalised_rows_equal_the_plain_formula(counts):
    block = sparse.csr_matrix(counts)
    logs = log_normalize(block, already_log=False)
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs.toarray(), reference.log_normalized(counts), rtol=1e-5)
    np.testing.assert_array_equal(row_sums(block), counts.sum(axis=1))
    assert log_normalize(block, already_log=True) is block
    np.testing.assert_array_equal(block.toarray(), counts)


def test_statistics_are_the_same_whatever_the_blocks_and_workers():
    x = random_counts(200, 40)
    one = compute_stats(rows(x, 200), n_workers=1)
    for block_rows, n_workers in ((1, 3), (17, 1), (64, 2)):
        other = compute_stats(rows(x, block_rows), n_workers=n_workers)
        for name, value in vars(one).items():
            np.testing.assert_allclose(getattr(other, name), value, rtol=1e-12)


def test_log_values_are_recognised_and_taken_as_they_are():
    logs = reference.log_normalized(random_counts(60, 20).toarray()).astype(np.float32)
    stats = compute_stats(rows(logs, 7))
    assert stats.already_log
    assert not stats.is_counts
    mean, var = reference.moments(np.expm1(logs), logs.sum(axis=1) > 0)
    np.testing.assert_allclose(stats.gene_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(stats.gene_var, var, rtol=1e-4)


def test_log_values_are_recognised_where_a_block_of_integers_comes_first():
    logs = reference.log_normalized(random_counts(60, 20).toarray()).astype(np.float32)
    logs[:10] = np.rint(logs[:10])
    stats = compute_stats(rows(logs, 10))
    assert stats.already_log
    mean, _ = reference.moments(np.expm1(logs), logs.sum(axis=1) > 0)
    np.testing.assert_allclose(stats.gene_mean, mean, rtol=1e-5)


def test_large_values_that_are_no_integers_are_counts_to_normalise():
    corrected = random_counts(60, 20).toarray() * 10.5
    stats = compute_stats(rows(corrected))
    assert not stats.already_log
    assert not stats.is_counts
    linear = np.expm1(reference.log_normalized(corrected))
    mean, _ = reference.moments(linear, corrected.any(axis=1))
    np.testing.assert_allclose(stats.gene_mean, mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "must be finite; got nan"),
        (np.inf, "must be finite; got inf"),
        (-np.inf, "must be finite; got -inf"),
        (-1.5, r"not below 0; got -1.5.*--layer raw"),
    ],
)
def test_the_first_faulty_value_is_named_with_its_cell_and_gene(value, message):
    x = np.ones((50, 4), dtype=np.float32)
    x[33, 2] = x[33, 3] = x[41, 0] = value
    adata = table(sparse.csr_matrix(x))
    matrix = from_anndata(adata)
    with pytest.raises(InputError, match=message) as caught:
        compute_stats(
            matrix.x(6), n_workers=3, cell_names=matrix.obs.index, gene_names=matrix.var.index
        )
    assert "cell 'cell33', gene 'gene2'" in str(caught.value)
    with pytest.raises(InputError, match="cell 33, gene 2"):
        compute_stats(matrix.x(6))


def test_values_beyond_float32_are_reported_as_infinite():
    with pytest.raises(InputError, match="must be finite; got inf"):
        compute_stats(from_anndata(ad.AnnData(np.full((3, 2), 1e300))).x(2))


def test_an_empty_matrix_has_statistics():
    stats = compute_stats(rows(np.zeros((7, 3))))
    assert stats.n_nonzero == 0
    assert not stats.gene_mean.any()
    assert stats.is_counts


def test_statistics_survive_the_disk(tmp_path):
    stats = compute_stats(rows(random_counts(30, 10)))
    stats.save(tmp_path / "s")
    loaded = MatrixStats.load(tmp_path / "s")
    pd.testing.assert_series_equal(
        pd.Series(vars(loaded)).map(str), pd.Series(vars(stats)).map(str)
    )
    for name, value in vars(stats).items():
        assert np.asarray(getattr(loaded, name)).dtype == np.asarray(value).dtype
    (tmp_path / "s/gene_var.npy").unlink()
    with pytest.raises(StoreError, match="must hold matrix statistics"):
        MatrixStats.load(tmp_path / "s")
