import numpy as np
import pytest
from scipy import sparse

from scrcl.prep.normalize import counts_of, log_normalize, size_factors
from scrcl.train.methods.scgpcl.inputs import scaled
from tests.train.scgpcl.data import METHOD, make_counts, make_inputs, make_store, setup


@pytest.mark.parametrize("most", [5, 1_000, 100_000])
def test_log_values_give_back_the_counts_exactly(most):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, most + 1, size=(60, 40)) * (rng.random((60, 40)) < 0.4)
    counts[:, 0] = most
    stored = sparse.csr_matrix(counts.astype(np.float32))
    totals = size_factors(counts.sum(axis=1).astype(np.float64))
    logs = log_normalize(stored, factors=totals)
    np.testing.assert_array_equal(counts_of(logs, totals), stored.data)


def test_scaled_values_have_mean_zero_and_deviation_one_and_constant_genes_are_zero(tmp_path):
    inputs = make_inputs(tmp_path, n_cells=90)
    inputs.deviation[3] = np.inf
    found = scaled(inputs.store.rows(0, 90), inputs)
    assert (found[:, 3] == 0).all()
    others = np.delete(found, 3, axis=1)
    np.testing.assert_allclose(others.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(others.std(axis=0), 1, atol=1e-5)


def test_log_values_are_those_of_counts_in_the_selected_genes_at_their_median(tmp_path):
    counts = make_counts(90, 30)[0].toarray().astype(np.float64)
    some = counts[:, :12]
    inputs = make_inputs(tmp_path, n_cells=90, n_selected=12)
    sums = some.sum(axis=1, keepdims=True)
    logs = np.log1p(some / sums * np.median(sums))
    found = scaled(inputs.store.rows(0, 90), inputs)
    np.testing.assert_allclose(found, (logs - logs.mean(axis=0)) / logs.std(axis=0), atol=1e-4)


def test_gathered_rows_are_those_of_the_whole_in_any_parts(tmp_path):
    counts, _ = make_counts(90, 30)
    store = make_store(tmp_path, counts, part_rows=13)
    rows = np.array([0, 1, 12, 13, 40, 89])
    found, whole = store.gather(rows), store.rows(0, 90)
    assert (found != whole[rows]).nnz == 0
    assert found.indices.dtype == whole.indices.dtype
    assert found.data.dtype == np.float32
    assert store.gather(np.empty(0, np.int64)).shape == (0, 30)


def test_a_mini_batch_holds_the_counts_and_edges_of_its_cells(tmp_path):
    inputs = make_inputs(tmp_path, n_selected=25)
    counts = make_counts()[0][:, :25]
    batches = METHOD.batches(inputs, setup())
    batch = batches.batch(4)
    cells = np.sort(inputs.cells[batches.seeds(4)])
    expected = counts[cells].toarray()[:, batch.genes_g.numpy()]
    found = np.zeros(expected.size)
    found[batch.counts.at_p.numpy()] = batch.counts.counts_p.numpy()
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    depths = np.asarray(counts.sum(axis=1)).ravel()
    factors = np.log(depths[cells] / np.median(depths))
    np.testing.assert_allclose(batch.counts.log_factors_b, factors, atol=1e-5)
    for view in batch.views:
        weights = view.neighbors_bm.numpy()
        assert (counts[cells].toarray()[weights > 0] > 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
        assert (weights > 0).sum(axis=1).max() <= 6
        near = view.surroundings
        assert near.context_cm.shape[0] <= 12
        assert set(view.kept_m.unique().tolist()) <= {0.0, 1.0}
    one, other = batch.views
    assert not np.array_equal(one.neighbors_bm, other.neighbors_bm)
    again = batches.batch(4)
    assert np.array_equal(again.views[0].neighbors_bm, one.neighbors_bm)


def test_the_size_of_a_mini_batch_does_not_depend_on_the_number_of_cells(tmp_path):
    sizes = []
    for n_cells in (120, 480):
        inputs = make_inputs(tmp_path / str(n_cells), n_cells=n_cells)
        batch = METHOD.batches(inputs, setup()).batch(0)
        near = batch.views[0].surroundings
        sizes.append((batch.x_bm.shape, near.members_mc.shape[0], near.context_cm.shape[0] <= 12))
    assert sizes[0] == sizes[1]


def test_a_gene_is_the_mean_of_the_context_cells_that_have_it(tmp_path):
    inputs = make_inputs(tmp_path, n_selected=25)
    counts = make_counts()[0][:, :25].toarray()
    batches = METHOD.batches(inputs, setup())
    for step in range(4):
        for view in batches.batch(step).views:
            near = view.surroundings
            values = near.context_cm.numpy()
            # The cells are known by their values.
            whole = scaled(inputs.store.rows(0, len(counts)), inputs)
            cells = [int(np.abs(whole - row).sum(axis=1).argmin()) for row in values]
            np.testing.assert_allclose(whole[cells], values, atol=1e-6)
            has = counts[cells] > 0
            expected = has / np.maximum(has.sum(axis=0), 1)
            np.testing.assert_allclose(near.members_mc.numpy(), expected.T, atol=1e-6)


def test_a_share_of_the_columns_is_masked_in_each_view_by_itself(tmp_path):
    inputs = make_inputs(tmp_path, n_selected=25)
    batches = METHOD.batches(inputs, setup(mask=0.2))
    views = [batches.batch(step).views for step in range(40)]
    kept = np.array([[view.kept_m.numpy() for view in both] for both in views])
    assert kept.shape == (40, 2, 25)
    assert kept.mean() == pytest.approx(0.8, abs=0.03)  # three deviations of 2,000 draws
    assert len(np.unique(kept.reshape(80, -1), axis=0)) == 80
    assert kept.mean(axis=(0, 1)).min() > 0.6


def test_all_genes_and_context_cells_count_where_nothing_is_drawn(tmp_path):
    inputs = make_inputs(tmp_path, n_selected=25)
    batches = METHOD.batches(inputs, setup())
    whole = batches.whole()
    cells = np.sort(inputs.cells[batches.seeds(0)])
    has = make_counts()[0][:, :25].toarray()[cells] > 0
    np.testing.assert_allclose(
        whole.views[0].neighbors_bm.numpy(), has / has.sum(axis=1, keepdims=True), atol=1e-6
    )
    np.testing.assert_array_equal(whole.x_bm, batches.batch(0).x_bm)
    assert len(whole.views) == 1
    assert whole.views[0].kept_m is whole.views[0].kept_d is None
    assert whole.n_seeds == len(cells)
