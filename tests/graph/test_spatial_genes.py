"""Genes that vary from place to place."""

import numpy as np
import pytest
from scipy import sparse

from scrcl.graph.spatial import spatial_knn
from scrcl.graph.spatial_genes import compared_cells, morans_i
from scrcl.io.labels import CellLabels
from tests.graph.test_lattice import square


@pytest.fixture(scope="module")
def near():
    return spatial_knn(square(n=20), 8).ids


def values(n=400, n_genes=300, seed=0):
    rng = np.random.default_rng(seed)
    return np.log1p(rng.poisson(1.0, (n, n_genes))).astype(np.float32)


def csr(x):
    return sparse.csr_matrix(x)


def test_genes_at_random_are_below_the_limit_and_a_gene_in_layers_above(near):
    x = values()
    x[:, 7] += np.arange(400) // 100
    found = morans_i(csr(x), near)
    assert np.flatnonzero(found.values > found.least).tolist() == [7]


def test_morans_i_is_that_of_its_formula(near):
    x = values(n_genes=1)
    x[:, 0] += np.arange(400) // 100
    own = x[:, 0] - x[:, 0].mean(dtype=float)
    weights = np.zeros((400, 400))
    weights[np.arange(400)[:, None], near] = 1 / near.shape[1]
    expected = own @ weights @ own / (own @ own)
    assert morans_i(csr(x), near).values[0] == pytest.approx(expected, rel=1e-4)


def test_the_limit_is_five_deviations_of_genes_at_random(near):
    found = morans_i(csr(values(n_genes=1_000)), near)
    assert found.least == pytest.approx(5 * found.values.std(), rel=0.1)


def test_differences_between_slices_do_not_count(near):
    slices = np.repeat([0, 1], 400)
    x = values(800) + 5 * slices[:, None].astype(np.float32)
    found = morans_i(csr(x), np.concatenate([near, near + 400]), slices)
    assert (found.values < found.least).all()


def test_genes_of_hardly_any_cell_and_constant_ones_have_no_value(near):
    x = values(n_genes=3)
    x[:, 0], x[:, 1] = 0, 2
    x[:4, 0] = 1
    found = morans_i(csr(x), near)
    assert np.isnan(found.values).tolist() == [True, True, False]


def test_cells_without_neighbours_make_no_gene_vary():
    found = morans_i(csr(values(30)), np.full((30, 4), -1))
    assert not (found.values > found.least).any()


def test_of_many_cells_tiles_are_compared():
    points = square(n=60)
    assert np.array_equal(compared_cells(points, None, 3_600, 0), np.arange(3_600))
    samples = CellLabels(np.repeat([0, 1], 1_800).astype(np.int32), ("a", "b"))
    cells = compared_cells(points, samples, 1_000, 0)
    assert 500 <= len(cells) <= 1_000
    assert (np.diff(cells) > 0).all()
    nearest = spatial_knn(points[cells], 4, samples=samples.of(cells)).distances
    assert np.mean(nearest.max(axis=1) < 1.1) > 0.75
