"""The training loop, for any method.

Mini-batches arrive on the device, numbered by step; the loop knows nothing of disk, graph or threads.
Ordinary steps never wait for the device: their loss terms stay there until a report is due. Then all of
them are fetched and checked at once, before anything is saved. Ranks agree before each step, through the
CPU, whether one of them was asked to stop or ran out of memory.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils import clip_grad_norm_

from scrcl._interrupt import Interrupted, Interruption
from scrcl._progress import Silent
from scrcl._random import torch_stream
from scrcl.errors import TrainingError
from scrcl.train.setup import Step
from scrcl.train.stop import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from scrcl._progress import Reporter
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.method import Method
    from scrcl.train.minibatches import MinibatchSource
    from scrcl.train.ranks import Ranks
    from scrcl.train.settings import TrainSettings
    from scrcl.train.setup import Setup
    from scrcl.train.state import TrainState

__all__ = ["train"]

_SMALLEST_MINIBATCH = 16
"""Cells of a mini-batch that is not halved when memory runs out."""


def train(
    method: Method[Any, Any, Any, Any],
    inputs: Any,
    state: TrainState[Any],
    setup: Setup[Any],
    *,
    batches: MinibatchSource[Any, Any] | None = None,
    checkpoints: Checkpoints | None = None,
    reporter: Reporter | None = None,
    interruption: Interruption | None = None,
) -> None:
    """Train ``state`` from its step to the end of its last phase, in place.

    Parameters
    ----------
    method
        Computes the steps.
    inputs
        What it trains on.
    state
        Fresh, or restored from a checkpoint: on the CPU the final weights are the same.
    setup
        Settings, and the ranks that train together, all called alike.
    batches
        The run's mini-batches; those of the method if None.
    checkpoints
        Where to save, every ``checkpoint_every`` steps and at the end of a phase; nowhere if None.
    reporter
        Receives the loss terms every ``report_every`` steps, and the number of finished steps.
    interruption
        Checked at every step. Once a stop is requested, the step is finished and saved.

    Raises
    ------
    TrainingError
        A loss term or the gradient is not finite; the message names it and its step, and no later
        checkpoint is saved. Or the device is too small for the smallest mini-batch.
    Interrupted
        A stop was requested; raised on all ranks after the same step.
    """
    ranks, interruption = setup.ranks, interruption or Interruption()
    if batches is None:
        batches = method.batches(inputs, setup.with_train(minibatch_cells=state.minibatch_cells))
    embed_subset = _embed_subset(method, inputs, state, setup)
    log = _Log(state, setup, checkpoints, reporter or Silent(), method.lowers_memory)
    weights = list(state.learner.parameters())
    coming = batches.starting_at(state.step)
    state.learner.train()
    with interruption.held():
        while not state.is_over:
            if state.phase_is_over:
                state.begin_next_phase()
            now = _step_of(state, ranks)
            if _refresh_is_due(now):
                method.refresh(state.learner, inputs, setup, now)
            before = state.learner.step_state()
            losses = _backward(method, state, coming, now)
            if losses is None:
                _abandon(method, state, batches, setup, now)
            asked, is_too_large = ranks.agree(interruption.asked, int(losses is None))
            if losses is None or is_too_large:
                state.learner.restore_step_state(before)
                state.optimizer.zero_grad(set_to_none=True)
                del coming  # stops the thread that builds the next mini-batch
                batches = log.halve(batches)
                coming = batches.starting_at(state.step)
                continue
            ranks.add([weight.grad for weight in weights if weight.grad is not None])
            grad_norm = clip_grad_norm_(weights, setup.train.max_grad_norm)
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.step += 1
            rule = now.phase.stop
            if rule is not None and state.step % setup.train.stop_every == 0:
                over = check(state.checks, rule, embed_subset, state.step)
                # Ranks agree, since different processors may differ in the last bit.
                state.checks.is_over = any(ranks.agree(int(over)))
            log.step_done(losses, grad_norm, is_last=state.phase_is_over or bool(asked))
            if asked:
                break
        asked = max(ranks.agree(interruption.asked))
        if asked:
            log.interrupted()
            interruption.ask(asked)
            raise Interrupted(asked)
    state.learner.eval()


def _embed_subset(
    method: Method[Any, Any, Any, Any], inputs: Any, state: TrainState[Any], setup: Setup[Any]
) -> Callable[[], Tensor]:
    """Return a function that embeds the subset of the stability checks, in evaluation mode."""
    subset = None
    if any(phase.stop is not None for phase in state.phases):
        subset = method.subset(inputs, setup)

    @torch.no_grad()
    def embedded() -> Tensor:
        learner, was_training = state.learner, state.learner.training
        learner.eval()
        rows = method.subset_embedding(learner, subset)
        learner.train(was_training)
        return rows

    return embedded


def _step_of(state: TrainState[Any], ranks: Ranks) -> Step:
    counters = ranks.counters(state.step)
    generator = torch_stream(state.seed, "train.dropout", *counters, device=state.device)
    return Step(state.step, state.current, state.step_in_phase, generator, ranks)


def _refresh_is_due(now: Step) -> bool:
    every = now.phase.refresh_every
    return every > 0 and now.number_in_phase % every == 0


def _backward(
    method: Method[Any, Any, Any, Any], state: TrainState[Any], coming: Iterator[Any], now: Step
) -> dict[str, Tensor] | None:
    """Leave a step's gradients in the weights; return its terms, or None if memory ran out."""
    for group in state.optimizer.param_groups:
        group["lr"] = now.phase.schedule.lr_at(now.number_in_phase)
    try:
        losses = method.step(state.learner, next(coming), now)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    except torch.OutOfMemoryError:
        return None
    # Terms keep their whole graph alive, the rows of the mini-batch included.
    return {name: term.detach() for name, term in losses.items()}


def _abandon(
    method: Method[Any, Any, Any, Any],
    state: TrainState[Any],
    batches: MinibatchSource[Any, Any],
    setup: Setup[Any],
    now: Step,
) -> None:
    """Free what a failed step held, and take part in the rest of its sums over ranks."""
    state.optimizer.zero_grad(set_to_none=True)
    if state.device.type == "cuda":
        torch.cuda.empty_cache()
    sizes = method.exchange(setup, batches, now)
    setup.ranks.abandon(sizes, like=next(state.learner.parameters()))


class _Log:
    """What follows a step: history, reports, checkpoints, and the record of halved mini-batches."""

    def __init__(
        self,
        state: TrainState[Any],
        setup: Setup[Any],
        checkpoints: Checkpoints | None,
        reporter: Reporter,
        lowers_memory: tuple[str, ...],
    ) -> None:
        self._state, self._lowers_memory = state, lowers_memory
        self._train: TrainSettings = setup.train
        self._checkpoints, self._reporter = checkpoints, reporter
        self._pending = _Pending(setup.ranks)

    def step_done(self, losses: dict[str, Tensor], grad_norm: Tensor, *, is_last: bool) -> None:
        """Keep a step's terms; report and save when due, or if this step ``is_last``."""
        self._pending.add(losses, grad_norm)
        step, train = self._state.step, self._train
        saves = is_last or step % train.checkpoint_every == 0
        if saves or step % train.report_every == 0:
            self._report()
        if saves:
            self._save()

    def interrupted(self) -> None:
        """Note where training stopped."""
        self._reporter.note(f"Training stops after step {self._state.step}, which is saved.")

    def halve(self, batches: MinibatchSource[Any, Any]) -> MinibatchSource[Any, Any]:
        """Return mini-batches of half the size; note and save the change."""
        state, had = self._state, batches.minibatch_cells
        if had <= _SMALLEST_MINIBATCH:
            lower = "".join(f"lower {name}, " for name in self._lowers_memory)
            message = (
                f"The device ran out of memory at step {state.step + 1}: a mini-batch of {had} cells "
                f"does not fit. Free device memory, {lower}or choose device=cpu."
            )
            raise TrainingError(message)
        state.minibatch_cells = max(_SMALLEST_MINIBATCH, -(-had // 2))
        state.halvings.append({"step": state.step, "minibatch_cells": state.minibatch_cells})
        self._reporter.note(
            f"The device ran out of memory with mini-batches of {had:,} cells. From step "
            f"{state.step + 1} they have {state.minibatch_cells:,}."
        )
        if len(self._pending):
            self._report()
        self._save()
        return batches.with_minibatches_of(state.minibatch_cells)

    def _report(self) -> None:
        state, pending = self._state, self._pending
        state.history += pending.finite_or_raise(state.step)
        terms = {name: value for name, value in state.history[-1].items() if name != "step"}
        self._reporter.metrics(state.step, terms)
        self._reporter.advance(len(pending))
        pending.clear()

    def _save(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.save(self._state)


class _Pending:
    """Loss terms since the last report, still on the device. They are of one phase, so of the same names."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._names: tuple[str, ...] = ()
        self._rows: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, losses: dict[str, Tensor], grad_norm: Tensor) -> None:
        """Keep one step's terms."""
        self._names = (*losses, "grad_norm")
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
            for name, value in zip(self._names, row, strict=True):
                if not isfinite(value):
                    message = (
                        f"{name} must stay finite in training; got {value} at step {step}. Lower "
                        "train.lr. The last checkpoint is from an earlier step."
                    )
                    raise TrainingError(message)
        return [
            {"step": step, **dict(zip(self._names, row, strict=True))}
            for step, row in zip(steps, rows, strict=True)
        ]
