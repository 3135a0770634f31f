"""Sparse products over the pairs of a mini-batch, differentiable only in the dense operand.

A mini-batch holds its pairs (seed cell, neighbour) in CSR, and a second time cut into blocks of anchors,
each sorted by seed and by anchor. So the backward pass of a product is again a product. The sparse values
never get a gradient, for which torch would allocate a dense matrix. And a method may encode anchors one
block at a time.

Rows are summed by `embedding_bag`. On the CPU it is two to eight times faster than torch's CSR product as
long as the dense operand fits the cache, and equally fast beyond.
"""

# Shapes: R = rows (seed cells), K = columns (anchors), P = stored pairs, D = width of the operand.

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import embedding_bag

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Block",
    "Pattern",
    "SparseMatrix",
    "sampled_dots",
    "sampled_dots_backward",
    "to_device",
]


@dataclass(frozen=True, eq=False)
class Block:
    """The pairs of some consecutive columns, which are numbered from the first of them.

    Attributes
    ----------
    start, stop
        The columns, k of them.
    offsets_r, columns_p
        Tensors of int32, shapes (R + 1,) and (p,): CSR.
    offsets_k, rows_p
        Tensors of int32, shapes (k + 1,) and (p,): CSR of the transpose.
    order_p
        Tensor of int64, shape (p,): position in the CSR order of each pair of the transpose.
    """

    start: int
    stop: int
    offsets_r: Tensor
    columns_p: Tensor
    offsets_k: Tensor
    rows_p: Tensor
    order_p: Tensor


@dataclass(frozen=True, eq=False)
class Pattern:
    """The pairs (row, column) that a sparse matrix stores.

    Attributes
    ----------
    offsets_r, columns_p
        Tensors of int32, shapes (R + 1,) and (P,): CSR.
    blocks
        The same pairs by blocks of columns.
    position_p
        Tensor of int64, shape (P,): position in the CSR order of each pair of the blocks, block after block.
    shape
        Number of rows and of columns.
    """

    offsets_r: Tensor
    columns_p: Tensor
    blocks: tuple[Block, ...]
    position_p: Tensor
    shape: tuple[int, int]

    def in_blocks(self, values_p: Tensor) -> tuple[Tensor, ...]:
        """Return values in CSR order as one tensor for each block."""
        return torch.split(values_p[self.position_p], [len(each.columns_p) for each in self.blocks])

    def in_order(self, blocks: Tensor) -> Tensor:
        """Return values of the blocks, block after block, in CSR order."""
        return torch.empty_like(blocks).index_copy_(0, self.position_p, blocks)


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Constant values on a `Pattern`, and a separate diagonal (row i, column i).

    Attributes
    ----------
    values
        Tensors of shape (p,): values of each block in CSR order.
    transposed
        The same values in the order of the transpose.
    diagonal_r
        Tensor of shape (R,).
    """

    pattern: Pattern
    values: tuple[Tensor, ...]
    transposed: tuple[Tensor, ...]
    diagonal_r: Tensor

    @classmethod
    def on(cls, pattern: Pattern, values_p: Tensor, diagonal_r: Tensor) -> SparseMatrix:
        """Place ``values_p`` (in CSR order) on ``pattern``."""
        values = pattern.in_blocks(values_p)
        blocks = zip(values, pattern.blocks, strict=True)
        return cls(pattern, values, tuple(v[b.order_p] for v, b in blocks), diagonal_r)

    def add_product(self, at: int, dense_kd: Tensor, out_rd: Tensor) -> None:
        """Add the product of block ``at`` with its columns' rows of the operand, shape (k, D)."""
        block = self.pattern.blocks[at]
        # Rows are added up over blocks, in their order: the sum does not depend on threads.
        out_rd += row_sums(block.offsets_r, block.columns_p, self.values[at], dense_kd)
        # Seed cells are the first columns, so the diagonal ends within one block: `own` is shorter there, and
        # empty in later ones.
        own = self.diagonal_r[block.start : block.stop]
        out_rd[block.start : block.start + len(own)].addcmul_(dense_kd[: len(own)], own[:, None])

    def product_backward(self, at: int, grad_rd: Tensor) -> Tensor:
        """Return the gradient with respect to the operand of block ``at``, shape (k, D)."""
        block = self.pattern.blocks[at]
        # The transpose sums rows too: no scattered additions, whose order would change the last bits.
        grad_kd = row_sums(block.offsets_k, block.rows_p, self.transposed[at], grad_rd)
        own = self.diagonal_r[block.start : block.stop]
        here = slice(block.start, block.start + len(own))
        grad_kd[: len(own)].addcmul_(grad_rd[here], own[:, None])
        return grad_kd


def to_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """Return ``array`` as a tensor on ``device``; copies to a GPU do not block the CPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))  # shares memory
    if device.type == "cpu":
        return tensor
    # Only pinned memory can be copied while the device works.
    return tensor.pin_memory().to(device, non_blocking=True)


def row_sums(offsets: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    """Return the product of a CSR matrix with ``dense``."""
    return embedding_bag(
        columns, dense, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def sampled_dots(block: Block, left_rd: Tensor, right_kd: Tensor) -> Tensor:
    """Return ``left[row] . right[column]`` of every pair, shape (p,), in CSR order; no gradient."""
    # sampled_addmm wants values to add to; beta = 0 ignores them.
    zeros_p = left_rd.new_zeros(len(block.columns_p))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        where = torch.sparse_csr_tensor(
            block.offsets_r,
            block.columns_p,
            zeros_p,
            size=(len(left_rd), len(right_kd)),
            check_invariants=False,
        )
    dots: Tensor = torch.sparse.sampled_addmm(where, left_rd, right_kd.T, beta=0.0)
    return dots.values()


def sampled_dots_backward(
    block: Block, grad_p: Tensor, left_rd: Tensor, right_kd: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to the left and the right operand."""
    grad_p = grad_p.contiguous()
    # d(l_r . r_k) = r_k dl_r + l_r dr_k: each gradient sums the other operand's rows over the pairs.
    grad_left_rd = row_sums(block.offsets_r, block.columns_p, grad_p, right_kd)
    grad_right_kd = row_sums(block.offsets_k, block.rows_p, grad_p[block.order_p], left_rd)
    return grad_left_rd, grad_right_kd
