from __future__ import annotations

import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from scrcl.errors import InputError
from scrcl.prep.normalize import log_normalize
from scrcl.simulation import template_atlas, tree_atlas
from scrcl.simulation.kernel import draw_counts
from scrcl.simulation.layout import apportion
from tests.cells import make_cells

SMALL = tree_atlas(700, 60, 5, 3, seed=0)
WIDE = tree_atlas(1_024, 20_000, 8, 2, seed=0)
WIDE_ROWS = WIDE.rows(0, 1_024)


def same(one, other):
    assert one.shape == other.shape
    return (one != other).nnz == 0


def means_by(rows, labels):
    logs = log_normalize(rows)
    return np.stack(
        [
            np.asarray(logs[np.flatnonzero(labels == k)].mean(axis=0)).ravel()
            for k in np.unique(labels)
        ]
    )


def draw(mean, dispersion, n_cells, seed=0):
    """Counts of genes with these means and dispersions, from one state without effects."""
    n_genes = len(mean)
    genes = np.empty(n_cells * n_genes, dtype=np.int32)
    counts = np.empty(n_cells * n_genes, dtype=np.float32)
    ends = draw_counts(
        np.random.default_rng(seed),
        mean[None].astype(np.float32),
        np.zeros((n_cells, 2), dtype=np.int32),
        np.ones((1, n_genes), dtype=np.float32),
        np.zeros(n_cells, dtype=np.int64),
        np.zeros((1, n_genes), dtype=np.float32),
        np.zeros(n_cells, dtype=np.int64),
        np.tile(np.float32([1, 0, 0]), (n_cells, 1)),
        dispersion.astype(np.float32),
        genes,
        counts,
    )
    filled = ends[-1]
    return sparse.csr_matrix(
        (counts[:filled], genes[:filled], ends), shape=(n_cells, n_genes)
    ).toarray()


@given(st.integers(0, 700), st.integers(0, 700))
@settings(max_examples=30)
def test_rows_do_not_depend_on_the_range(a, b):
    start, stop = sorted((a, b))
    whole = SMALL.rows(0, 700)
    assert same(SMALL.rows(start, stop), whole[start:stop])


def test_rows_are_canonical_counts():
    rows = SMALL.rows(100, 650)
    assert rows.dtype == np.float32
    assert rows.shape == (550, SMALL.n_vars)
    again = sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=rows.shape)
    assert again.has_canonical_format
    assert rows.data.min() >= 1
    np.testing.assert_array_equal(rows.data, np.rint(rows.data))


def test_threads_and_pickled_copies_draw_the_same_rows():
    copy = pickle.loads(pickle.dumps(SMALL))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: copy.rows(start, start + 100), range(0, 700, 100)))
    assert same(sparse.vstack(parts).tocsr(), SMALL.rows(0, 700))


def test_only_the_seed_changes_the_cells():
    again, other = tree_atlas(700, 60, 5, 3, seed=0), tree_atlas(700, 60, 5, 3, seed=1)
    assert same(again.rows(0, 700), SMALL.rows(0, 700))
    pd.testing.assert_frame_equal(again.obs(), SMALL.obs())
    assert again.identity == SMALL.identity
    assert not same(other.rows(0, 700), SMALL.rows(0, 700))
    assert other.identity != SMALL.identity
    assert json.loads(json.dumps(other.identity)) == other.identity


def test_counts_follow_the_negative_binomial():
    mean = np.array([0.05, 0.6, 3.0, 40.0, 8.0])
    dispersion = np.array([2.0, 1.5, 0.01, 0.4, 8.0])
    n_cells = 40_000
    counts = draw(mean, dispersion, n_cells)
    for values, mu, phi in zip(counts.T, mean, dispersion, strict=True):
        law = stats.nbinom(1 / phi, 1 / (1 + phi * mu))
        assert abs(values.mean() - mu) < 5 * law.std() / np.sqrt(n_cells)
        top = int(np.flatnonzero(law.pmf(np.arange(1_000)) * n_cells > 20)[-1])
        expected = np.append(law.pmf(np.arange(top)), law.sf(top - 1)) * n_cells
        seen = np.bincount(np.minimum(values, top).astype(int), minlength=top + 1)
        assert stats.chisquare(seen, expected, sum_check=False).pvalue > 1e-4
    off_diagonal = np.corrcoef(counts.T)[np.triu_indices(5, 1)]
    assert np.abs(off_diagonal).max() < 0.03


def test_the_median_cell_has_about_a_thousand_genes_and_depths_are_log_normal():
    detected = np.diff(WIDE_ROWS.indptr)
    assert 800 < np.median(detected) < 1_250
    logs = np.log(np.asarray(WIDE_ROWS.sum(axis=1)).ravel())
    assert 0.3 < logs.std() < 0.8
    assert abs(stats.skew(logs)) < 0.5


def test_type_sizes_span_three_orders_of_magnitude_and_every_type_occurs():
    sizes = tree_atlas(200_000, 10, 40, 8, seed=3).obs()["cell_type"].value_counts()
    assert len(sizes) == 40
    assert 500 < sizes.max() / sizes.min() < 1_500
    few = tree_atlas(40, 10, 40, 8, seed=3).obs()
    assert few["cell_type"].nunique() == 40
    assert few["sample"].nunique() == 8


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8), st.integers(0, 500), st.integers(0, 9)
)
@settings(max_examples=60)
def test_apportioned_numbers_sum_to_the_total(weights, total, least):
    whole = apportion(np.array(weights), total, least=least)
    assert whole.sum() == total
    assert whole.min() >= min(least, total // len(weights))


def test_samples_are_consecutive_and_differ_in_mix_and_profile():
    obs = SMALL.obs()
    assert obs["sample"].is_monotonic_increasing
    assert obs.index.is_unique
    assert SMALL.var.index.is_unique
    mixes = pd.crosstab(obs["sample"], obs["cell_type"], normalize="index").to_numpy()
    assert np.abs(mixes[0] - mixes[1:]).max() > 0.01
    largest = WIDE.obs()["cell_type"].value_counts().index[0]
    cells = (WIDE.obs()["cell_type"] == largest).to_numpy()
    one, other = means_by(WIDE_ROWS[cells], WIDE.obs()["sample"].to_numpy()[cells])
    common = (one + other) > 1
    assert 0.1 < np.std(np.log(np.expm1(one[common]) / np.expm1(other[common]))) < 0.5


def test_types_of_one_branch_are_more_similar_than_others():
    atlas = tree_atlas(3_000, 2_000, 12, 1, seed=2)
    obs = atlas.obs()
    means = means_by(atlas.rows(0, 3_000), obs["cell_type"].to_numpy())
    per_type = np.corrcoef(means - means.mean(axis=0))
    branches = obs.groupby("cell_type", observed=True)["branch"].first().to_numpy()
    kin = branches[:, None] == branches
    pairs = ~np.eye(12, dtype=bool)
    assert per_type[kin & pairs].mean() > per_type[~kin].mean() + 0.2


def test_k_means_finds_large_types_but_not_all_types():
    atlas = tree_atlas(2_000, 3_000, 8, 2, seed=0)
    labels = atlas.obs()["cell_type"]
    logs = log_normalize(atlas.rows(0, 2_000)).toarray()
    embedding = PCA(15, random_state=0).fit_transform(logs[:, logs.var(axis=0).argsort()[-800:]])
    large = labels.isin(labels.value_counts().index[:4]).to_numpy()
    found = KMeans(4, n_init=4, random_state=0).fit_predict(embedding[large])
    assert adjusted_rand_score(labels[large], found) > 0.4
    everything = KMeans(8, n_init=4, random_state=0).fit_predict(embedding)
    assert adjusted_rand_score(labels, everything) < 0.95


def test_spatial_domains_differ_in_types_and_slices_do_not_touch():
    atlas = tree_atlas(4_000, 20, 12, 2, seed=0, spatial=True)
    obs, coordinates = atlas.obs(), atlas.obsm()["spatial"]
    assert coordinates.dtype == np.float32
    assert coordinates.shape == (4_000, 2)
    tables = [pd.crosstab(obs["domain"], obs["cell_type"])]
    assert stats.chi2_contingency(tables[0].to_numpy()).pvalue < 1e-10
    first = (obs["sample"] == obs["sample"].iloc[0]).to_numpy()
    assert coordinates[first, 0].max() < coordinates[~first, 0].min()
    slice_coordinates = coordinates[first]
    gaps = np.linalg.norm(slice_coordinates[:200, None] - slice_coordinates[None], axis=2)
    nearest = np.argsort(gaps, axis=1)[:, 1]
    domains = obs["domain"].to_numpy()[first]
    assert (domains[:200] == domains[nearest]).mean() > 0.85
    plain = tree_atlas(4_000, 20, 12, 2, seed=0)
    assert plain.obsm() == {}
    pd.testing.assert_series_equal(
        plain.obs()["cell_type"].value_counts(), obs["cell_type"].value_counts(), check_like=True
    )


def test_templates_reproduce_means_depths_and_shares_of_real_types():
    real = make_cells(600, 150, 4)
    atlas = template_atlas(real.X, real.obs["cell_type"], real.var_names, 3_000, 1, seed=0)
    obs, rows = atlas.obs(), atlas.rows(0, 3_000)
    ours = means_by(rows, obs["cell_type"].to_numpy())
    theirs = means_by(real.X, real.obs["cell_type"].to_numpy())
    agreement = np.corrcoef(ours, theirs)[:4, 4:]
    assert np.diag(agreement).min() > 0.97
    assert (agreement.argmax(axis=0) == np.arange(4)).all()
    depths = np.median(np.asarray(rows.sum(axis=1))), np.median(np.asarray(real.X.sum(axis=1)))
    assert abs(np.log(depths[0] / depths[1])) < 0.1
    shares = obs["cell_type"].value_counts(normalize=True, sort=False)
    wanted = real.obs["cell_type"].value_counts(normalize=True, sort=False)
    np.testing.assert_allclose(shares, wanted, atol=0.01)
    assert np.median(atlas.types.dispersion) < 0.1, "the cells are Poisson within their types"


def test_templates_recover_the_dispersion():
    rng = np.random.default_rng(0)
    mean, dispersion = rng.uniform(2, 10, 100), np.repeat([0.1, 1.0], 50)
    counts = sparse.csr_matrix(draw(mean, dispersion, 600))
    types = template_atlas(counts, ["a"] * 600, pd.RangeIndex(100).astype(str), 10, seed=0).types
    np.testing.assert_allclose(np.median(types.dispersion[:50]), 0.1, rtol=0.3)
    np.testing.assert_allclose(np.median(types.dispersion[50:]), 1.0, rtol=0.3)


def test_templates_keep_differences_within_a_type():
    real = make_cells(400, 150, 2)
    atlas = template_atlas(real.X, ["one"] * 400, real.var_names, 600, 1, seed=0)
    logs = log_normalize(atlas.rows(0, 600)).toarray()
    truth = means_by(real.X, real.obs["cell_type"].to_numpy())
    score = (logs - logs.mean(axis=0)) @ (truth[1] - truth[0])
    of_type = log_normalize(real.X).toarray() @ (truth[1] - truth[0])
    assert score.std() > 0.45 * of_type.std()


def test_cells_without_a_label_are_left_out():
    real = make_cells(200, 40, 3)
    labels = real.obs["cell_type"].astype(object).to_numpy()
    labels[:20], labels[20:30], labels[30] = np.nan, "", None
    kept = template_atlas(real.X[31:], labels[31:], real.var_names, 100, seed=0)
    ours = template_atlas(real.X, labels, real.var_names, 100, seed=0)
    assert ours.identity == kept.identity
    assert set(ours.obs()["cell_type"]) == {"type 0", "type 1", "type 2"}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 10, 1, 1), "n_cells must .*0"),
        ((10, 0, 1, 1), "n_genes must .*0"),
        ((10, 10, -1, 1), "n_types must .*-1"),
        ((10, 10, 1, 0), "n_samples must .*0"),
        ((10, 10, 11, 1), "n_types must .*10"),
        ((10, 10, 1, 11), "n_samples must .*10"),
    ],
)
def test_sizes_that_break_a_rule_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        tree_atlas(*sizes, seed=0)


@pytest.mark.parametrize("spatial", [False, True])
def test_the_smallest_atlases_can_be_drawn(spatial):
    for sizes in ((1, 1, 1, 1), (3, 2, 3, 3), (300, 5, 2, 1)):
        atlas = tree_atlas(*sizes, seed=0, spatial=spatial)
        assert atlas.rows(0, atlas.n_obs).shape == sizes[:2]
        assert atlas.obs()["sample"].nunique() == sizes[3]
    with pytest.raises(InputError, match=r"stop must .*300.*301"):
        atlas.rows(0, 301)


def test_templates_must_be_labelled_counts():
    real = make_cells(50, 20, 2)
    labels = real.obs["cell_type"]
    for matrix in (real.X * 0.5, -real.X, real.X * np.inf):
        with pytest.raises(InputError, match="counts must be integers"):
            template_atlas(matrix, labels, real.var_names, 10, seed=0)
    with pytest.raises(InputError, match=r"labels must .*50.*49"):
        template_atlas(real.X, labels[1:], real.var_names, 10, seed=0)
    with pytest.raises(InputError, match=r"labels must .*none among 50"):
        template_atlas(real.X, [np.nan] * 50, real.var_names, 10, seed=0)
    with pytest.raises(InputError, match=r"n_types must .*1"):
        template_atlas(real.X, labels, real.var_names, 1, seed=0)


def test_a_thousand_cells_of_20_000_genes_take_less_than_two_seconds():
    start = time.perf_counter()
    WIDE.rows(0, 1_024)
    assert time.perf_counter() - start < 2


def test_groups_of_cells_differ():
    atlas = tree_atlas(768, 50, 1, 1, seed=0)
    blocks = [atlas.rows(start, start + 256) for start in (0, 256, 512)]
    assert not same(blocks[0], blocks[1])
    assert not same(blocks[1], blocks[2])
