"""The training loop.

Batches arrive on the device, numbered by step; the loop knows nothing of disk, graph or threads.
Ordinary steps never wait for the device: their losses stay there until a report is due, when all of
them are fetched and checked at once, before anything is saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.utils import clip_grad_norm_

from scrcl._progress import Silent
from scrcl._random import torch_stream
from scrcl.errors import TrainingError
from scrcl.train.loss import TERMS
from scrcl.train.objective import objective
from scrcl.train.schedule import schedule_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from scrcl._progress import Reporter
    from scrcl.train.batch import Batch
    from scrcl.train.checkpoint import Checkpoints
    from scrcl.train.config import TrainConfig
    from scrcl.train.state import TrainState
    from scrcl.train.stop import Stop

__all__ = ["Batches", "train"]

_COLUMNS = (*TERMS, "grad_norm")


class Batches(Protocol):
    """A source of batches numbered by step."""

    @property
    def n_cells(self) -> int:
        """All cells that batches are drawn from."""

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Yield the batches of ``step`` and of all steps after it."""


def train(
    state: TrainState,
    batches: Batches,
    config: TrainConfig,
    *,
    stop: Stop | None = None,
    checkpoints: Checkpoints | None = None,
    reporter: Reporter | None = None,
) -> None:
    """Bring ``state`` from the step it is at to the last of its schedule, in place.

    Parameters
    ----------
    state
        Fresh, or restored from a checkpoint: on the CPU the weights at the end are the same.
    batches
        The run's batches.
    config
        Settings.
    stop
        Asked after every step whether it was the last; nothing ends a run early if not given.
    checkpoints
        Where to save, every ``checkpoint_every`` steps and at the end; nowhere if not given.
    reporter
        Receives the loss terms every ``report_every`` steps, and the number of steps done.

    Raises
    ------
    TrainingError
        When a loss term or the gradient is not finite; names it and its step. No checkpoint is
        saved after that step.
    """
    reporter = reporter or Silent()
    state.model.train()
    pending = _Pending()
    schedule = schedule_of(config, batches.n_cells)
    ended = stop is not None and stop.ended(state.looks)
    n_left = 0 if ended else schedule.n_steps - state.step
    for batch in islice(batches.starting_at(state.step), n_left):
        for group in state.optimizer.param_groups:
            group["lr"] = schedule.lr_at(state.step)
        dropout = torch_stream(state.seed, "train.dropout", state.step, device=state.device)
        losses = objective(state.model, batch, state.moments, config, generator=dropout)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        grad_norm = clip_grad_norm_(state.model.parameters(), config.max_grad_norm)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        pending.add(losses, grad_norm)
        ended = stop is not None and stop.look(state.model, state.looks, state.step)
        due = _due(state.step, config, last=ended or state.step == schedule.n_steps)
        if not due.report:
            continue
        state.history += pending.finite_or_raise(state.step)
        reporter.metrics(state.step, state.history[-1])
        reporter.advance(len(pending))
        pending.clear()
        if due.save and checkpoints is not None:
            checkpoints.save(state)
        if ended:
            break
    state.model.eval()


@dataclass(frozen=True)
class _Due:
    report: bool
    save: bool


def _due(step: int, config: TrainConfig, *, last: bool) -> _Due:
    """Return what follows a finished step; before a save there is always a report."""
    save = last or step % config.checkpoint_every == 0
    return _Due(save or step % config.report_every == 0, save)


class _Pending:
    """Losses of the steps since the last report, still on the device."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, losses: dict[str, Tensor], grad_norm: Tensor) -> None:
        """Keep one step's terms."""
        self._rows.append(torch.stack([*losses.values(), grad_norm]).detach())

    def clear(self) -> None:
        """Forget them."""
        self._rows.clear()

    def finite_or_raise(self, last_step: int) -> list[dict[str, float]]:
        """Fetch them, the last of step ``last_step``; raise for the first that is not finite."""
        rows = torch.stack(self._rows).tolist()
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
