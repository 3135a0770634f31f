from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from scrcl.train.divergence import contrast, soften
from scrcl.train.sparse import Pattern, SparseMatrix, pair_dots
from tests.train.data import CPU


def random_matrix(n_rows, n_columns, density, seed):
    matrix = sp.random(n_rows, n_columns, density, "csr", random_state=seed)
    matrix.sort_indices()
    pattern = Pattern.from_csr(matrix.indptr, matrix.indices, n_columns=n_columns, device=CPU)
    return matrix, pattern


sizes = {
    "n_rows": st.integers(1, 8),
    "n_columns": st.integers(1, 9),
    "density": st.sampled_from([0.0, 0.2, 1.0]),
    "seed": st.integers(0, 50),
}


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_products_and_their_gradients_equal_the_dense_ones(n_rows, n_columns, density, seed):
    n_rows = min(n_rows, n_columns)
    matrix, pattern = random_matrix(n_rows, n_columns, density, seed)
    diagonal = torch.rand(n_rows, dtype=torch.float64)
    sparse = SparseMatrix.on(pattern, torch.from_numpy(matrix.data), diagonal)
    full = torch.from_numpy(matrix.toarray())
    full[range(n_rows), range(n_rows)] += diagonal
    x = torch.randn(n_columns, 3, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(sparse @ x, full @ x, atol=1e-13)
    ours, dense = (torch.autograd.grad(y.square().sum(), x)[0] for y in (sparse @ x, full @ x))
    assert torch.allclose(ours, dense, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_pair_dots_and_their_gradients_equal_the_dense_ones(n_rows, n_columns, density, seed):
    matrix, pattern = random_matrix(n_rows, n_columns, density, seed)
    rows, columns = matrix.tocoo().coords
    left = torch.randn(n_rows, 4, dtype=torch.float64, requires_grad=True)
    right = torch.randn(n_columns, 4, dtype=torch.float64, requires_grad=True)
    ours = pair_dots(pattern, left, right)
    dense = (left @ right.T)[rows, columns]
    assert torch.allclose(ours, dense, atol=1e-13)
    for found, expected in zip(
        torch.autograd.grad(ours.square().sum(), (left, right)),
        torch.autograd.grad(dense.square().sum(), (left, right)),
        strict=True,
    ):
        assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("target", [True, False])
def test_softened_features_have_the_right_gradients(target):
    e = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def outputs(raw):
        unit = normalize(raw, dim=1)
        return tuple(vars(soften(unit, 0.5, target=target)).values())

    assert torch.autograd.gradcheck(outputs, e.requires_grad_())


def test_contrasts_have_the_right_gradients():
    _, pattern = random_matrix(3, 5, 0.5, 0)
    generator = torch.Generator().manual_seed(0)
    operands = [
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((5, 6), (3, 6), (6,))
    ]
    assert torch.autograd.gradcheck(
        lambda *tensors: tuple(vars(contrast(pattern, *tensors)).values()), operands
    )


def test_softened_rows_of_a_low_temperature_neither_overflow_nor_vanish():
    e = normalize(-torch.rand(200, 3), dim=1)
    e[0], e[1] = torch.tensor([1.0, 0, 0]), torch.tensor([-1.0, 0, 0])
    found = soften(e, 0.02, target=False)
    expected = torch.softmax(e.double() / 0.02, 1)
    assert (found.partition_a > 0).all()
    assert np.allclose(found.features[:, :3], expected, rtol=1e-3, atol=1e-7)
