"""Work on the anchors of a mini-batch, one block at a time, in the forward and the backward pass.

There are about twenty anchors for each seed. Of them the losses need one number for each pair and each
anchor, and the graph encoder a sum over neighbours. So a block of anchors is encoded, used and dropped, and
the backward pass encodes it again (gradient checkpointing). This costs a third more arithmetic. It divides
memory by the number of blocks, and saves nearly all memory traffic: embeddings of a block stay in the cache.
"""

# Shapes: A = anchors, B = seed cells, P = pairs, D = dim, C = refined_dim.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scrcl.train.methods.scrcl.divergence import soften
from scrcl.train.sparse import sampled_dots, sampled_dots_backward

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scrcl.train.sparse import Block, Pattern, SparseMatrix

__all__ = ["Anchors", "Visits", "propagated", "visit"]


@dataclass(frozen=True, eq=False)
class Anchors:
    """How anchors are encoded by the MLP view.

    Attributes
    ----------
    rows
        Tensors of A rows each.
    weights
        All other tensors with a gradient.
    encode
        ``encode(*rows, *weights)`` returns E^m and Z^m of any number of rows, of unit length.
    """

    rows: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    encode: Callable[..., tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, em_ad: Tensor, zm_ac: Tensor) -> Anchors:
        """Return anchors with known embeddings."""
        return cls((em_ad, zm_ac), (), lambda em, zm: (em, zm))


@dataclass(frozen=True, eq=False)
class Visits:
    """What the losses need of the anchors.

    Attributes
    ----------
    kappa_p
        Divergence of the anchor (by the MLP view) from the seed (by the GCN view) of each pair.
    mean_a
        Mean divergence of each anchor from the cells behind the mean target, shape (A,).
    dots_p
        ``zm . zg`` of each pair.
    """

    kappa_p: Tensor
    mean_a: Tensor
    dots_p: Tensor


def visit(
    anchors: Anchors,
    pattern: Pattern,
    targets_bd: Tensor,
    mean_target: Tensor,
    zg_bc: Tensor,
    temperature: float,
) -> Visits:
    """Return all that the losses need of the anchors.

    Parameters
    ----------
    pattern
        Pairs (seed, anchor), shape (B, A); a seed is not paired with itself.
    targets_bd
        Features of the seeds as targets (`scrcl.train.methods.scrcl.divergence`), shape (B, 2D).
    mean_target
        Shape (2D,).
    """
    how = _Visiting(anchors, pattern, temperature)
    found = _Visit.apply(how, targets_bd, mean_target, zg_bc, *anchors.rows, *anchors.weights)  # type: ignore[no-untyped-call]
    return Visits(*found)


def propagated(
    encode: Callable[..., Tensor], matrix: SparseMatrix, rows_af: Tensor, *weights: Tensor
) -> Tensor:
    """Return ``matrix @ encode(rows, *weights)``, shape (B, D)."""
    product: Tensor = _Propagate.apply(encode, matrix, rows_af, *weights)  # type: ignore[no-untyped-call]
    return product


@dataclass(frozen=True, eq=False)
class _Visiting:
    anchors: Anchors
    pattern: Pattern
    temperature: float

    def features(self, *operands: Tensor) -> tuple[Tensor, Tensor]:
        em, zm = self.anchors.encode(*operands)
        return soften(em, self.temperature, target=False).features, zm


class _Visit(torch.autograd.Function):
    """Divergences and similarities of all pairs; only operands are kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        how: _Visiting,
        targets: Tensor,
        mean_target: Tensor,
        zg: Tensor,
        *operands: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(targets, mean_target, zg, *operands)
        ctx.how = how
        # Autograd does not record in here, so each block's embeddings are freed after its turn.
        kappa, mean, dots = [], [], []
        for block in how.pattern.blocks:
            keys, zm = how.features(*_cut(operands, block, len(how.anchors.rows)))
            kappa.append(sampled_dots(block, targets, keys))
            mean.append(keys @ mean_target)
            dots.append(sampled_dots(block, zg, zm))
        # kappa = -key . target (see `divergence`), hence the signs. Blocks are brought back to the pairs' order.
        in_order = how.pattern.in_order
        return in_order(torch.cat(kappa).neg_()), torch.cat(mean).neg_(), in_order(torch.cat(dots))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        targets, mean_target, zg, *operands = ctx.saved_tensors
        how, grad_mean = ctx.how, grads[1].neg()
        pattern, n_rows = how.pattern, len(how.anchors.rows)
        of_kappa, of_dots = pattern.in_blocks(grads[0].neg()), pattern.in_blocks(grads[2])
        # Operands of the seeds take part in every block, so their gradients are added up over blocks.
        seeds = [torch.zeros_like(each) for each in (targets, mean_target, zg)]
        sums = _Gradients(operands, n_rows, ctx.needs_input_grad[4:])
        for at, block in enumerate(pattern.blocks):
            # Encode the block again, this time recorded, to get its gradient from autograd.
            parts = sums.parts(block)
            with torch.enable_grad():
                keys, zm = how.features(*parts)
            own = grad_mean[block.start : block.stop]
            grad_targets, grad_keys = sampled_dots_backward(
                block, of_kappa[at], targets, keys.detach()
            )
            grad_zg, grad_zm = sampled_dots_backward(block, of_dots[at], zg, zm.detach())
            for total, part in zip(
                seeds, (grad_targets, own @ keys.detach(), grad_zg), strict=True
            ):
                total.add_(part)
            # keys @ mean_target adds own x mean_target to the gradient of the keys.
            sums.add(block, parts, (keys, zm), (grad_keys.addr_(own, mean_target), grad_zm))
        return None, *seeds, *sums.totals


class _Propagate(torch.autograd.Function):
    """Encode anchors and sum them over each seed's neighbours; only operands are kept."""

    @staticmethod
    def forward(
        ctx: Any, encode: Callable[..., Tensor], matrix: SparseMatrix, *operands: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*operands)
        ctx.encode, ctx.matrix = encode, matrix
        out = None
        for at, block in enumerate(matrix.pattern.blocks):
            hidden = encode(*_cut(operands, block, 1))
            if out is None:  # the width is known once a block is encoded
                out = hidden.new_zeros(matrix.pattern.shape[0], hidden.shape[1])
            matrix.add_product(at, hidden, out)
        assert out is not None, "there is at least one anchor"
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        grad = grads[0].contiguous()  # `embedding_bag` needs contiguous rows
        sums = _Gradients(ctx.saved_tensors, 1, ctx.needs_input_grad[2:])
        for at, block in enumerate(ctx.matrix.pattern.blocks):
            parts = sums.parts(block)
            with torch.enable_grad():
                hidden = ctx.encode(*parts)
            sums.add(block, parts, (hidden,), (ctx.matrix.product_backward(at, grad),))
        return None, None, *sums.totals


class _Known(torch.autograd.Function):
    """A zero whose gradients with respect to ``made`` are known.

    ``torch.autograd.grad`` takes such gradients itself, but to compare their shapes it loads sympy: half a second of
    each run.
    """

    @staticmethod
    def forward(ctx: Any, grads: tuple[Tensor, ...], *made: Tensor) -> Tensor:
        ctx.grads = grads
        return made[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # noqa: ARG004
        return None, *ctx.grads


class _Gradients:
    """Gradients of operands, summed over blocks; None if an operand needs none.

    The first ``n_rows`` operands have one row for each anchor: a block writes its own rows. Weights are shared
    by all blocks, so their gradients add up.
    """

    def __init__(self, operands: Any, n_rows: int, wanted: tuple[bool, ...]) -> None:
        self._operands, self._n_rows, self._wanted = operands, n_rows, wanted
        self.totals = [
            torch.zeros_like(operand) if wants else None
            for operand, wants in zip(operands, wanted, strict=True)
        ]

    def parts(self, block: Block) -> list[Tensor]:
        """Return a block's operands as leaves, detached from the outer graph."""
        cut = _cut(self._operands, block, self._n_rows)
        return [
            part.detach().requires_grad_(wants)
            for part, wants in zip(cut, self._wanted, strict=True)
        ]

    def add(
        self,
        block: Block,
        parts: list[Tensor],
        made: tuple[Tensor, ...],
        grads: tuple[Tensor, ...],
    ) -> None:
        """Add the gradients of the parts, from the gradients ``grads`` of what was ``made`` of them."""
        totals = [total for total in _cut(self.totals, block, self._n_rows) if total is not None]
        leaves = [part for part in parts if part.requires_grad]
        with torch.enable_grad():
            known = _Known.apply(grads, *made)  # type: ignore[no-untyped-call]
        found = torch.autograd.grad(known, leaves)
        for total, part in zip(totals, found, strict=True):
            total.add_(part)


def _cut(operands: Any, block: Block, n_rows: int) -> list[Any]:
    """Return a block's rows of the first ``n_rows`` operands, and all of the others."""
    return [
        each if at >= n_rows or each is None else each[block.start : block.stop]
        for at, each in enumerate(operands)
    ]
