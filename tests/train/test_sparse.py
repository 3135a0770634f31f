from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from scrcl.train.methods.scrcl.blocks import Anchors, propagated, visit
from scrcl.train.methods.scrcl.divergence import soften
from scrcl.train.pairs import pattern_of
from scrcl.train.sparse import SparseMatrix
from tests.train.data import CPU


def random_matrix(n_rows, n_columns, density, seed, block_rows=3):
    matrix = sp.random(n_rows, n_columns, density, "csr", random_state=seed)
    matrix.sort_indices()
    pattern = pattern_of(
        matrix.indptr, matrix.indices, n_columns=n_columns, device=CPU, block_rows=block_rows
    )
    return matrix, pattern


sizes = {
    "n_rows": st.integers(1, 8),
    "n_columns": st.integers(1, 9),
    "density": st.sampled_from([0.0, 0.2, 1.0]),
    "seed": st.integers(0, 50),
    "block_rows": st.integers(1, 10),
}


@settings(max_examples=60)
@given(**sizes)
def test_blocks_hold_each_pair_once_by_row_and_by_column(
    n_rows, n_columns, density, seed, block_rows
):
    matrix, pattern = random_matrix(n_rows, n_columns, density, seed, block_rows)
    assert pattern.shape == matrix.shape
    full, back = np.zeros(matrix.shape), np.zeros(matrix.shape)
    values = torch.from_numpy(matrix.data)
    for block, own in zip(pattern.blocks, pattern.in_blocks(values), strict=True):
        shape = (n_rows, block.stop - block.start)
        here = np.s_[:, block.start : block.stop]
        full[here] += sp.csr_matrix((own, block.columns_p, block.offsets_r), shape).toarray()
        turned = own[block.order_p]
        back[here] += sp.csc_matrix((turned, block.rows_p, block.offsets_k), shape).toarray()
    assert np.array_equal(full, matrix.toarray())
    assert np.array_equal(back, matrix.toarray())
    assert [block.start for block in pattern.blocks] == list(range(0, n_columns, block_rows))
    again = pattern.in_order(torch.cat(pattern.in_blocks(values)))
    assert torch.equal(again, values)


@settings(max_examples=60)
@given(**sizes)
def test_propagation_of_what_blocks_encode_and_its_gradients_equal_the_dense_ones(
    n_rows, n_columns, density, seed, block_rows
):
    n_rows = min(n_rows, n_columns)
    matrix, pattern = random_matrix(n_rows, n_columns, density, seed, block_rows)
    diagonal = torch.rand(n_rows, dtype=torch.float64)
    sparse = SparseMatrix.on(pattern, torch.from_numpy(matrix.data), diagonal)
    full = torch.from_numpy(matrix.toarray())
    full[range(n_rows), range(n_rows)] += diagonal
    x = torch.randn(n_columns, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)

    def encode(rows, weight):
        return (rows @ weight).tanh()

    ours, dense = propagated(encode, sparse, x, weight), full @ encode(x, weight)
    assert torch.allclose(ours, dense, atol=1e-13)
    for found, expected in zip(
        *(torch.autograd.grad(y.square().sum(), (x, weight)) for y in (ours, dense)), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("target", [True, False])
def test_softened_features_have_the_right_gradients(target):
    e = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def outputs(raw):
        unit = normalize(raw, dim=1)
        return tuple(vars(soften(unit, 0.5, target=target)).values())

    assert torch.autograd.gradcheck(outputs, e.requires_grad_())


def test_visits_have_the_right_gradients():
    _, pattern = random_matrix(3, 5, 0.5, 0)
    generator = torch.Generator().manual_seed(0)
    operands = [
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((3, 6), (6,), (3, 2), (5, 4), (4, 3), (3, 2))
    ]

    def visits(targets, mean_target, zg, x, weight, association):
        def encode(rows, weight, association):
            em = normalize(rows @ weight, dim=1)
            return em, normalize(em @ association, dim=1)

        anchors = Anchors((x,), (weight, association), encode)
        return tuple(vars(visit(anchors, pattern, targets, mean_target, zg, 0.5)).values())

    assert torch.autograd.gradcheck(visits, operands)


def test_softened_rows_of_a_low_temperature_neither_overflow_nor_vanish():
    e = normalize(-torch.rand(200, 3), dim=1)
    e[0], e[1] = torch.tensor([1.0, 0, 0]), torch.tensor([-1.0, 0, 0])
    found = soften(e, 0.02, target=False)
    expected = torch.softmax(e.double() / 0.02, 1)
    assert (found.partition_a > 0).all()
    assert np.allclose(found.features[:, :3], expected, rtol=1e-3, atol=1e-7)
