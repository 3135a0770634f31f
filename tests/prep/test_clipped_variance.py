from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.io.open import from_anndata
from scrcl.io.stream import Reading
from scrcl.prep.clipped_variance import clip_sums, clip_values, expected_std, normalized_variance
from tests.stores import random_counts, table


def naive_sums(counts, limits, codes):
    """Sums of dense rows, one batch after another."""
    sums, squares = np.zeros(limits.shape), np.zeros(limits.shape)
    for code, limit in enumerate(limits):
        rows = np.minimum(counts.toarray()[codes == code].astype(np.float64), limit)
        sums[code], squares[code] = rows.sum(axis=0), (rows**2).sum(axis=0)
    return sums, squares


def example(seed, n_batches=3, n_obs=90, n_vars=40):
    rng = np.random.default_rng(seed)
    counts = random_counts(n_obs, n_vars, seed=seed, density=0.5)
    codes = rng.integers(-1, n_batches, size=n_obs)
    return counts, rng.gamma(2, 2, size=(n_batches, n_vars)), codes


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 100), st.integers(1, 3))
def test_sums_equal_those_of_the_dense_rows_of_each_batch(seed, n_batches, block_rows, n_workers):
    counts, limits, codes = example(seed, n_batches)
    x = from_anndata(table(counts)).x(block_rows)
    found = clip_sums(x, limits, codes, n_batches, reading=Reading(n_workers))
    for ours, naive in zip(found, naive_sums(counts, limits, codes), strict=True):
        np.testing.assert_allclose(ours, naive, rtol=1e-12)


def test_cells_without_a_batch_are_skipped():
    counts, limits, codes = example(0)
    x = from_anndata(table(counts)).x(20)
    sums, squares = clip_sums(x, limits, np.full_like(codes, -1), 3)
    assert not sums.any()
    assert not squares.any()


def test_sums_do_not_depend_on_the_number_of_workers():
    counts, limits, codes = example(1)
    x = from_anndata(table(counts)).x(7)
    one, three = (clip_sums(x, limits, codes, 3, reading=Reading(n)) for n in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_progress_counts_all_rows():
    counts, limits, codes = example(2)
    rows = []
    clip_sums(
        from_anndata(table(counts)).x(20), limits, codes, 3, reading=Reading(on_rows=rows.append)
    )
    assert sum(rows) == counts.shape[0]


def test_the_work_on_a_block_can_be_pickled():
    from scrcl.prep.clipped_variance import _sum_block

    counts, limits, codes = example(3)
    work = pickle.loads(pickle.dumps(partial(_sum_block, clip=limits, batch_of_row=codes)))
    for batch, found in work(0, counts).items():
        np.testing.assert_allclose(found[:, 0], naive_sums(counts, limits, codes)[0][batch])


def test_normalized_variance_equals_that_of_standardised_cells():
    counts, _, _ = example(4, n_obs=300, n_vars=200)
    dense = counts.toarray().astype(np.float64)
    mean, var = dense.mean(axis=0), dense.var(axis=0, ddof=1)
    std = expected_std(mean, var)
    limit = clip_values(mean, std, 300)
    scores = (np.minimum(dense, limit) - mean) / std
    sums, squares = naive_sums(counts, limit[None], np.zeros(300, dtype=int))
    found = normalized_variance(mean, std, 300, sums=sums[0], squares=squares[0])
    np.testing.assert_allclose(found, (scores**2).sum(axis=0) / 299, rtol=1e-9)


def test_constant_genes_have_an_expected_deviation_of_one():
    rng = np.random.default_rng(0)
    mean = rng.gamma(2, 1, 100)
    var = mean * rng.gamma(2, 1, 100)
    var[::5] = 0
    assert (expected_std(mean, var)[::5] == 1).all()


@pytest.mark.parametrize("n_genes", [0, 1, 2, 3, 4, 9, 10, 12])
def test_too_few_varying_genes_are_refused(n_genes):
    mean = np.linspace(1, 2, n_genes)
    with pytest.raises(InputError, match=rf"got {n_genes}\b.*lung"):
        expected_std(mean, mean**2 * np.resize([1, 2, 5], n_genes), name="lung")


def test_genes_with_equal_means_are_refused():
    with pytest.raises(InputError, match="seurat_v3; got 100"):
        expected_std(np.ones(100), np.linspace(1, 2, 100))
