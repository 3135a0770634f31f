"""Sparse products over the pairs of a batch, differentiable in the dense operand alone.

A batch knows its pairs (seed cell, neighbour) as a CSR pattern together with the transposed one,
so that the backward pass of a product is again a product and nothing ever asks for a gradient of
the sparse values (torch would allocate a dense matrix for it). Rows are summed by `embedding_bag`:
on the CPU it is two to eight times faster than torch's CSR product while the dense operand fits the
cache, and level with it beyond.
"""

# Shapes: R = rows (seed cells), K = columns (anchors), P = stored pairs, D = width of the operand.

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn.functional import embedding_bag

if TYPE_CHECKING:
    from torch import Tensor

    from scrcl.typing import IntArray

__all__ = [
    "Pattern",
    "SparseMatrix",
    "pair_dots",
    "sampled_dots",
    "sampled_dots_backward",
    "to_device",
]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which pairs (row, column) a sparse matrix stores, by row and by column.

    Attributes
    ----------
    offsets_r, columns_p
        Tensors of int32, shapes (R + 1,) and (P,): CSR.
    offsets_k, rows_p
        Tensors of int32, shapes (K + 1,) and (P,): CSR of the transpose.
    order_p
        Tensor of int64, shape (P,): where each pair of the transpose is in the CSR order.
    """

    offsets_r: Tensor
    columns_p: Tensor
    offsets_k: Tensor
    rows_p: Tensor
    order_p: Tensor

    @classmethod
    def from_csr(
        cls, indptr: IntArray, indices: IntArray, *, n_columns: int, device: torch.device
    ) -> Pattern:
        """Build both orders of the CSR pattern ``indptr``, ``indices`` on ``device``."""
        n_pairs = len(indices)
        assert n_pairs < np.iinfo(np.int32).max, "a batch holds fewer than 2^31 pairs"
        numbered = sp.csr_matrix(
            (np.arange(n_pairs), indices, indptr), shape=(len(indptr) - 1, n_columns)
        ).tocsc()

        def int32(array: IntArray) -> Tensor:
            return to_device(np.asarray(array, np.int32), device)

        return cls(
            offsets_r=int32(indptr),
            columns_p=int32(indices),
            offsets_k=int32(numbered.indptr),
            rows_p=int32(numbered.indices),
            order_p=to_device(np.asarray(numbered.data, np.int64), device),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self.offsets_r) - 1, len(self.offsets_k) - 1


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Constant values on a `Pattern`, and a diagonal (row i, column i) beside it.

    Attributes
    ----------
    values_p, transposed_p
        Tensors of shape (P,): values in CSR order, and in that of the transpose.
    diagonal_r
        Tensor of shape (R,).
    """

    pattern: Pattern
    values_p: Tensor
    transposed_p: Tensor
    diagonal_r: Tensor

    @classmethod
    def on(cls, pattern: Pattern, values_p: Tensor, diagonal_r: Tensor) -> SparseMatrix:
        """Place ``values_p`` (in CSR order) on ``pattern``."""
        return cls(pattern, values_p, values_p[pattern.order_p], diagonal_r)

    def __matmul__(self, dense_kd: Tensor) -> Tensor:
        """Return the product with a tensor of shape (K, D), of shape (R, D)."""
        product: Tensor = _Product.apply(dense_kd, self)  # type: ignore[no-untyped-call]
        return product


def pair_dots(pattern: Pattern, left_rd: Tensor, right_kd: Tensor) -> Tensor:
    """Return ``left[row] . right[column]`` of every stored pair, shape (P,), in CSR order."""
    dots: Tensor = _PairDots.apply(left_rd.contiguous(), right_kd.contiguous(), pattern)  # type: ignore[no-untyped-call]
    return dots


def to_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """Return ``array`` as a tensor on ``device``; copies to a GPU do not block."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _row_sums(offsets: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    return embedding_bag(
        columns, dense, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
    )


class _Product(torch.autograd.Function):
    """Product with a sparse matrix; the gradient is the product with its transpose."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: SparseMatrix) -> Tensor:
        ctx.matrix = matrix
        pattern, diagonal = matrix.pattern, matrix.diagonal_r
        product = _row_sums(pattern.offsets_r, pattern.columns_p, matrix.values_p, dense)
        return product.addcmul_(dense[: len(diagonal)], diagonal[:, None])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        matrix, grad = ctx.matrix, grads[0].contiguous()
        pattern, diagonal = matrix.pattern, matrix.diagonal_r
        product = _row_sums(pattern.offsets_k, pattern.rows_p, matrix.transposed_p, grad)
        product[: len(diagonal)].addcmul_(grad, diagonal[:, None])
        return product, None


class _PairDots(torch.autograd.Function):
    """Sampled dense-dense product; the gradients are two sparse products."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.pattern = pattern
        return sampled_dots(pattern, left, right)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return *sampled_dots_backward(ctx.pattern, grads[0], *ctx.saved_tensors), None


def sampled_dots(pattern: Pattern, left_rd: Tensor, right_kd: Tensor) -> Tensor:
    """`pair_dots` without a gradient."""
    zeros_p = left_rd.new_zeros(len(pattern.columns_p))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        where = torch.sparse_csr_tensor(
            pattern.offsets_r,
            pattern.columns_p,
            zeros_p,
            size=pattern.shape,
            check_invariants=False,
        )
    dots: Tensor = torch.sparse.sampled_addmm(where, left_rd, right_kd.T, beta=0.0)
    return dots.values()


def sampled_dots_backward(
    pattern: Pattern, grad_p: Tensor, left_rd: Tensor, right_kd: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to the left and the right operand."""
    grad_p = grad_p.contiguous()
    grad_left_rd = _row_sums(pattern.offsets_r, pattern.columns_p, grad_p, right_kd)
    grad_right_kd = _row_sums(pattern.offsets_k, pattern.rows_p, grad_p[pattern.order_p], left_rd)
    return grad_left_rd, grad_right_kd
