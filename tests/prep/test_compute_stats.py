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
from scrcl.io.labels import CellLabels
from scrcl.io.open import from_anndata
from scrcl.io.rows import StoredRows, rows_from_reader
from scrcl.io.stream import Reading
from scrcl.prep.compute_stats import compute_stats
from scrcl.prep.normalize import log_normalize, row_sums
from scrcl.prep.stats import CellFilter, MatrixStats
from tests import reference_io as reference
from tests.stores import random_counts, table

small_counts = nps.arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 6)),
    elements=st.integers(0, 400).map(lambda n: float(n if n < 60 else 0)),
)


def rows(values, block_rows=5):
    return from_anndata(table(sparse.csr_matrix(values.astype(np.float32)))).x(block_rows)


def assert_same(one, other, rtol=1e-12):
    for name, value in vars(one).items():
        if isinstance(value, tuple):
            assert getattr(other, name) == value
        else:
            np.testing.assert_allclose(getattr(other, name), value, rtol=rtol)


@given(small_counts, st.integers(1, 13))
@settings(max_examples=60)
def test_statistics_of_counts_equal_those_of_the_dense_matrix(counts, block_rows):
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
        np.testing.assert_allclose(stats.moments("linear")[0], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            stats.moments("linear")[1], var, rtol=1e-4, atol=1e-6 * (mean**2).max()
        )


@given(small_counts)
@settings(max_examples=30)
def test_log_normalised_rows_equal_the_plain_formula(counts):
    block = sparse.csr_matrix(counts)
    logs = log_normalize(block)
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs.toarray(), reference.log_normalized(counts), rtol=1e-5)
    np.testing.assert_array_equal(row_sums(block), counts.sum(axis=1))
    np.testing.assert_array_equal(block.toarray(), counts)


def test_statistics_do_not_depend_on_blocks_and_workers():
    x = random_counts(200, 40)
    one = compute_stats(rows(x, 200), reading=Reading(1))
    for block_rows, n_workers in ((1, 3), (17, 1), (64, 2)):
        other = compute_stats(rows(x, block_rows), reading=Reading(n_workers))
        assert_same(other, one)


def test_log_values_are_recognised_and_not_normalised():
    logs = reference.log_normalized(random_counts(60, 20).toarray()).astype(np.float32)
    stats = compute_stats(rows(logs, 7))
    assert stats.already_log
    assert not stats.is_counts
    mean, var = reference.moments(np.expm1(logs), logs.sum(axis=1) > 0)
    np.testing.assert_allclose(stats.moments("linear")[0], mean, rtol=1e-5)
    np.testing.assert_allclose(stats.moments("linear")[1], var, rtol=1e-4)


def test_log_values_are_recognised_after_a_block_of_integers():
    counts = np.random.default_rng(0).poisson(1.5, size=(60, 20))
    logs = np.log2(counts + 1).astype(np.float32)
    logs[:10] = np.rint(logs[:10])  # as of 1, 3 and 7 counts
    stats = compute_stats(rows(logs, 10))
    assert stats.already_log
    mean, _ = reference.moments(np.expm1(logs), logs.sum(axis=1) > 0)
    np.testing.assert_allclose(stats.moments("linear")[0], mean, rtol=1e-5)


def test_large_fractional_values_are_normalised_as_counts():
    corrected = random_counts(60, 20).toarray() * 10.5
    stats = compute_stats(rows(corrected))
    assert not stats.already_log
    assert not stats.is_counts
    linear = np.expm1(reference.log_normalized(corrected))
    mean, _ = reference.moments(linear, corrected.any(axis=1))
    np.testing.assert_allclose(stats.moments("linear")[0], mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "finite; got nan"),
        (np.inf, "finite; got inf"),
        (-np.inf, "finite; got -inf"),
        (-1.5, r"got -1.5 .*`layer` \(raw\)"),
    ],
)
def test_the_first_faulty_value_is_named_with_its_cell_and_gene(value, message):
    x = np.ones((50, 4), dtype=np.float32)
    x[33, 2] = x[33, 3] = x[41, 0] = value
    adata = table(sparse.csr_matrix(x))
    matrix = from_anndata(adata)
    with pytest.raises(InputError, match=message) as caught:
        compute_stats(
            matrix.x(6),
            reading=Reading(3),
            cell_name=matrix.obs.index.__getitem__,
            gene_name=matrix.var.index.__getitem__,
            other_layers=("raw",),
        )
    assert "cell 'cell33', gene 'gene2'" in str(caught.value)
    with pytest.raises(InputError, match="cell 33, gene 2"):
        compute_stats(matrix.x(6))


def test_a_faulty_value_at_the_start_of_a_row_is_of_that_row():
    x = np.ones((50, 4), dtype=np.float32)
    x[33, 0] = np.nan
    with pytest.raises(InputError, match="cell 33, gene 0"):
        compute_stats(from_anndata(table(sparse.csr_matrix(x))).x(6))


def test_values_beyond_float32_are_reported_as_infinite():
    with pytest.raises(InputError, match="finite; got inf"):
        compute_stats(from_anndata(ad.AnnData(np.full((3, 2), 1e300))).x(2))


def test_an_empty_matrix_has_statistics():
    stats = compute_stats(rows(np.zeros((7, 3))))
    assert stats.n_nonzero == 0
    assert not stats.moments("linear")[0].any()
    assert stats.is_counts


def test_saved_statistics_load_unchanged(tmp_path):
    stats = compute_stats(rows(random_counts(30, 10)))
    stats.save(tmp_path / "s")
    loaded = MatrixStats.load(tmp_path / "s")
    pd.testing.assert_series_equal(
        pd.Series(vars(loaded)).map(str), pd.Series(vars(stats)).map(str)
    )
    for name, value in vars(stats).items():
        assert np.asarray(getattr(loaded, name)).dtype == np.asarray(value).dtype
    (tmp_path / "s/sums.npy").unlink()
    with pytest.raises(StoreError, match="matrix statistics"):
        MatrixStats.load(tmp_path / "s")


@pytest.mark.parametrize("scale", ["raw", "linear", "log"])
def test_moments_of_each_scale_and_batch_cover_its_retained_cells(scale):
    counts = random_counts(300, 40).toarray()
    codes = np.random.default_rng(0).integers(3, size=300).astype(np.int32)
    mito = np.arange(40) % 7 == 0
    keep = CellFilter(min_genes=5, max_counts=200, max_mito=0.3)
    stats = compute_stats(
        rows(counts, 37),
        keep=keep,
        mito=mito,
        batches=CellLabels(codes, ("a", "b", "c")),
        with_raw=True,
    )
    share = counts[:, mito].sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    retained = (
        ((counts > 0).sum(axis=1) >= 5)
        & (counts.sum(axis=1) <= 200)
        & (share.astype(np.float32) <= 0.3)
        & counts.any(axis=1)
    )
    assert 20 < retained.sum() < 280
    np.testing.assert_array_equal(stats.retained, retained)
    np.testing.assert_allclose(stats.cell_mito, share, rtol=1e-6)
    np.testing.assert_array_equal(stats.gene_cells, (counts[retained] > 0).sum(axis=0))
    np.testing.assert_array_equal(stats.gene_counts, counts[retained].sum(axis=0))
    logs = reference.log_normalized(counts)
    values = {"raw": counts, "linear": np.expm1(logs), "log": logs}[scale]
    for batch, of_batch in [(None, retained), *((b, retained & (codes == b)) for b in range(3))]:
        mean, var = stats.moments(scale, batch)
        np.testing.assert_allclose(mean, values[of_batch].mean(axis=0), rtol=1e-5)
        expected = values[of_batch].var(axis=0, ddof=1)
        np.testing.assert_allclose(var, expected, rtol=1e-4, atol=1e-6 * expected.max())
    np.testing.assert_array_equal(stats.cells_per_batch, np.bincount(codes[retained]))


def test_statistics_do_not_depend_on_the_stored_dtype(tmp_path):
    counts = random_counts(200, 30)
    whole = compute_stats(rows(counts.toarray(), 64))
    for data in (np.uint8, np.uint16, np.int64, np.float64):
        for indices in (np.uint16, np.int64):
            stored = StoredRows(
                counts.data.astype(data), counts.indices.astype(indices), counts.indptr, 30
            )
            x = rows_from_reader(lambda *_, rows=stored: rows, shape=(200, 30), block_rows=200)
            assert_same(compute_stats(x), whole)


def test_unsorted_duplicate_and_zero_entries_are_repaired_first():
    data = np.array([1, 2, 0, 3], dtype=np.uint8)
    stored = StoredRows(data, np.array([4, 1, 2, 4], dtype=np.uint16), np.array([0, 4]), 6)
    stats = compute_stats(rows_from_reader(lambda *_: stored, shape=(1, 6), block_rows=1))
    assert stats.cell_genes.tolist() == [2]
    np.testing.assert_array_equal(stats.gene_counts, [0, 2, 0, 0, 4, 0])


@pytest.mark.parametrize(
    ("values", "columns"),
    [([1, 2], [4, 1]), ([1, 3], [4, 4]), ([1, 0], [1, 4])],
    ids=["unsorted", "duplicate", "zero"],
)
def test_one_block_in_another_order_is_repaired_and_noted(values, columns):
    ends = np.array([0, 2])
    odd = StoredRows(np.array(values, np.uint8), np.array(columns, np.uint16), ends, 6)
    plain = StoredRows(np.array([5, 7], np.uint8), np.array([0, 4], np.uint16), ends, 6)
    stats = compute_stats(
        rows_from_reader(lambda start, _: plain if start else odd, shape=(2, 6), block_rows=1)
    )
    assert not stats.is_canonical
    expected = np.bincount([*columns, 0, 4], [*values, 5, 7], 6)
    np.testing.assert_array_equal(stats.gene_counts, expected)
    assert stats.cell_genes[0] == np.unique(np.array(columns)[np.array(values) > 0]).size


def test_a_cell_at_the_limits_passes():
    keep = CellFilter(min_genes=2, max_counts=8, max_mito=0.25)
    counts, genes = np.array([8.0, 9, 8, 8]), np.array([2, 2, 1, 2])
    mito = np.array([0.25, 0.25, 0.25, 0.26], np.float32)
    assert keep.passes(counts, genes, mito).tolist() == [True, False, False, False]


def test_large_values_of_cells_that_are_left_out_do_not_shift_those_of_others():
    counts = random_counts(40, 10).toarray()
    counts[3], counts[[5, 20], 2] = 50, 70
    stats = compute_stats(rows(counts, 40), keep=CellFilter(max_counts=400))
    assert np.flatnonzero(~stats.retained & counts.any(axis=1)).tolist() == [3]
    np.testing.assert_allclose(stats.sums, compute_stats(rows(counts[stats.retained])).sums)


def test_fractions_below_twenty_in_one_block_and_above_in_another_take_a_second_read():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(40, 6)) * (np.arange(6) <= np.arange(40)[:, None] % 6)
    values *= rng.uniform(900, 1100, size=(40, 1)) / values.sum(axis=1, keepdims=True)
    values = np.log1p(values)  # looks like logarithms of a normalisation, roughly
    values[30:] *= 50
    seen = []
    stats = compute_stats(rows(values, 10), reading=Reading(on_rows=seen.append))
    assert not stats.already_log
    assert sum(seen) == 80
    mean, _ = reference.moments(np.expm1(reference.log_normalized(values)), values.any(axis=1))
    np.testing.assert_allclose(stats.moments("linear")[0], mean, rtol=1e-5)
