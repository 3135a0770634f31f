"""The training loop.

Batches arrive on the device, numbered by step; the loop knows nothing of disk, graph or threads.
Ordinary steps never wait for the device: their losses stay there until a report is due, when all of
them are fetched and checked at once, before anything is saved. Several ranks agree before each step,
through the CPU, on whether one of them was asked to stop or ran out of memory.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.utils import clip_grad_norm_

from scrcl._interrupt import Interrupted, Interruption
from scrcl._progress import Silent
from scrcl._random import torch_stream
from scrcl.errors import TrainingError
from scrcl.train.methods.scrcl.loss import TERMS
from scrcl.train.methods.scrcl.objective import objective, summed_size
from scrcl.train.ranks import Ranks
from scrcl.train.schedule import schedule_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from scrcl._progress import Reporter
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.config import TrainConfig
    from scrcl.train.methods.scrcl.minibatch import Batch
    from scrcl.train.state import TrainState
    from scrcl.train.stop import Stop

__all__ = ["SMALLEST_BATCH", "Batches", "train"]

SMALLEST_BATCH = 16
"""Cells of a batch that is not halved when memory runs out."""

_COLUMNS = (*TERMS, "grad_norm")


class Batches(Protocol):
    """A source of batches numbered by step."""

    @property
    def n_cells(self) -> int:
        """All cells that batches are drawn from."""

    @property
    def batch_cells(self) -> int:
        """Most seed cells in a batch."""

    @property
    def n_drawn(self) -> int:
        """Cells drawn from the whole atlas for a batch; 0 where none are."""

    def n_seeds(self, step: int) -> int:
        """Return the number of seed cells of a step."""

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Yield the batches of ``step`` and of all steps after it, without end."""

    def with_batches_of(self, batch_cells: int) -> Batches:
        """Return the source of batches of another size."""


def train(
    state: TrainState,
    batches: Batches,
    config: TrainConfig,
    *,
    stop: Stop | None = None,
    checkpoints: Checkpoints | None = None,
    reporter: Reporter | None = None,
    ranks: Ranks | None = None,
    interruption: Interruption | None = None,
) -> None:
    """Bring ``state`` from the step it is at to the last of its schedule, in place.

    Parameters
    ----------
    state
        Fresh, or restored from a checkpoint: on the CPU the weights at the end are the same.
    batches
        The run's batches, of ``state.batch_cells``; on each rank its parts of them.
    config
        Settings.
    stop
        Asked after every step whether it was the last; nothing ends a run early if not given.
    checkpoints
        Where to save, every ``checkpoint_every`` steps and at the end; nowhere if not given.
    reporter
        Receives the loss terms every ``report_every`` steps, and the number of steps done.
    ranks
        The processes that train together, all called alike; this one alone if not given.
    interruption
        Asked at every step. Once it is asked to stop, the step is finished and saved.

    Raises
    ------
    TrainingError
        When a loss term or the gradient is not finite; names it and its step. No checkpoint is
        saved after that step. Also when the device has no room for the smallest batch.
    Interrupted
        When asked to stop, on all ranks after the same step.
    """
    ranks, interruption = ranks or Ranks.alone(), interruption or Interruption()
    log = _Log(state, config, checkpoints, reporter or Silent(), ranks)
    weights = list(state.model.parameters())
    coming = batches.starting_at(state.step)
    state.model.train()
    schedule = schedule_of(config, batches.n_cells)
    ended = state.step >= schedule.n_steps or (stop is not None and stop.ended(state.looks))
    with interruption.held():
        while not ended:
            moments = state.moments.state_dict()
            losses = _backward(state, coming, config, schedule.lr_at(state.step), ranks)
            if losses is None:
                _abandon(state, batches, config, ranks)
            asked, is_too_large = ranks.agree(interruption.asked, int(losses is None))
            if losses is None or is_too_large:
                state.moments.load_state_dict(moments, state.device)
                state.optimizer.zero_grad(set_to_none=True)
                del coming
                batches = log.halve(batches)
                coming = batches.starting_at(state.step)
                continue
            ranks.add([weight.grad for weight in weights if weight.grad is not None])
            grad_norm = clip_grad_norm_(weights, config.max_grad_norm)
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.step += 1
            ended = state.step == schedule.n_steps
            if stop is not None and stop.is_due(state.step):
                # Agreed on, since ranks of different processors may differ in the last bit.
                ended |= any(ranks.agree(int(stop.look(state.model, state.looks, state.step))))
            log.step_done(losses, grad_norm, is_last=ended or bool(asked))
            if asked:
                break
        asked = max(ranks.agree(interruption.asked))
        if asked:
            log.interrupted()
            interruption.ask(asked)
            raise Interrupted(asked)
    state.model.eval()


def _backward(
    state: TrainState, coming: Iterator[Batch], config: TrainConfig, lr: float, ranks: Ranks
) -> dict[str, Tensor] | None:
    """Leave a step's gradients in the weights; returns its terms, or None where memory ran out."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    counters = ranks.counters(state.step)
    dropout = torch_stream(state.seed, "train.dropout", *counters, device=state.device)
    try:
        batch = next(coming)
        losses = objective(
            state.model, batch, state.moments, config, generator=dropout, ranks=ranks
        )
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    except torch.OutOfMemoryError:
        return None
    # Terms hold on to what they were made of, the rows of the batch among it.
    return {name: term.detach() for name, term in losses.items()}


def _abandon(state: TrainState, batches: Batches, config: TrainConfig, ranks: Ranks) -> None:
    """Free what a failed step held, and stand in for this rank in what is left of it."""
    state.optimizer.zero_grad(set_to_none=True)
    if state.device.type == "cuda":
        torch.cuda.empty_cache()
    size = summed_size(config, batches.n_seeds(state.step), draws=bool(batches.n_drawn))
    ranks.abandon(state.model.W.new_zeros(size))


class _Log:
    """What follows a step: the history, reports and checkpoints, and the record of halved batches."""

    def __init__(
        self,
        state: TrainState,
        config: TrainConfig,
        checkpoints: Checkpoints | None,
        reporter: Reporter,
        ranks: Ranks,
    ) -> None:
        self._state, self._config = state, config
        self._checkpoints, self._reporter = checkpoints, reporter
        self._pending = _Pending(ranks)

    def step_done(self, losses: dict[str, Tensor], grad_norm: Tensor, *, is_last: bool) -> None:
        """Keep a step's terms; report and save when that is due, or this step ``is_last``."""
        self._pending.add(losses, grad_norm)
        step, config = self._state.step, self._config
        saves = is_last or step % config.checkpoint_every == 0
        if saves or step % config.report_every == 0:
            self._report()
        if saves:
            self._save()

    def interrupted(self) -> None:
        """Say where training was left."""
        self._reporter.note(f"training stops after step {self._state.step}, which is saved.")

    def halve(self, batches: Batches) -> Batches:
        """Return batches of half the size, and say and save that they are."""
        state, had = self._state, batches.batch_cells
        if had <= SMALLEST_BATCH:
            msg = (
                f"the device must have memory for a batch of {had} cells; it has not, at step "
                f"{state.step + 1}. Free it, lower train.fanout, train.n_negatives or train.dim, or choose device=cpu."
            )
            raise TrainingError(msg)
        state.batch_cells = max(SMALLEST_BATCH, -(-had // 2))
        state.halvings.append({"step": state.step, "batch_cells": state.batch_cells})
        self._reporter.note(
            f"the device has no memory for batches of {had:,} cells: from step {state.step + 1} on "
            f"they have {state.batch_cells:,}."
        )
        if len(self._pending):
            self._report()
        self._save()
        return batches.with_batches_of(state.batch_cells)

    def _report(self) -> None:
        state, pending = self._state, self._pending
        state.history += pending.finite_or_raise(state.step)
        self._reporter.metrics(state.step, state.history[-1])
        self._reporter.advance(len(pending))
        pending.clear()

    def _save(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.save(self._state)


class _Pending:
    """Losses of the steps since the last report, still on the device."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._rows: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, losses: dict[str, Tensor], grad_norm: Tensor) -> None:
        """Keep one step's terms."""
        self._rows.append(torch.stack([*losses.values(), grad_norm]))

    def clear(self) -> None:
        """Forget them."""
        self._rows.clear()

    def finite_or_raise(self, last_step: int) -> list[dict[str, float]]:
        """Fetch them, the last of step ``last_step``; raise for the first that is not finite."""
        terms = torch.stack(self._rows)
        if not self._ranks.is_alone:  # each rank has its part of a term, and the same gradient
            parts = terms[:, :-1].contiguous()
            self._ranks.add([parts])
            terms = torch.cat([parts, terms[:, -1:]], 1)
        rows = terms.tolist()
        steps = range(last_step - len(rows) + 1, last_step + 1)
        for step, row in zip(steps, rows, strict=True):
            for name, value in zip(_COLUMNS, row, strict=True):
                if not isfinite(value):
                    msg = (
                        f"{name} must stay finite in training; got {value} at step {step}. Lower "
                        "lr, or raise temperature; the last checkpoint is from before."
                    )
                    raise TrainingError(msg)
        return [
            {"step": step, **dict(zip(_COLUMNS, row, strict=True))}
            for step, row in zip(steps, rows, strict=True)
        ]
