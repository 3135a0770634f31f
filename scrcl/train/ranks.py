"""Several processes that train one model, each on its part of every mini-batch.

Every rank holds the whole model and reads the rows that its seed cells need. A step adds up flat vectors
over ranks: what the method shares (for example means over the mini-batch, and in the backward pass their
gradient), and the gradient of the weights. All ranks then take the same step, so their weights are the
same bit for bit.

`torch.nn.parallel.DistributedDataParallel` is not used: it averages independent losses, and cannot share
means between ranks. A model has some hundred thousand weights, so one flat vector is all there is to
send. Sharding the weights (FSDP) would save less than a megabyte for each rank.
"""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from scrcl._interrupt import Interrupted
from scrcl.errors import InputError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = ["Ranks"]

_TIMEOUT_S = 300.0
"""Longest wait for the other ranks in one exchange. On the CPU, a rank that died is noticed at once."""

_CALL, _HEARD, _STATE = "call", "heard", "state"
_POLL_S, _LINGER_S = 0.1, 10.0


class Ranks:
    """One process among those that train together.

    Parameters
    ----------
    rank, size
        Number of this process, and number of processes. Only rank 0 does work other than training.
    local
        Number of this process on its machine, and so of its GPU.
    store
        ``torch.distributed`` store that all processes reach; None if there is one process.
    timeout_s
        Longest wait in one exchange.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        local: int | None = None,
        store: Any = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.rank, self.size, self.local = rank, size, local
        self._store, self._timeout = store, timedelta(seconds=timeout_s)
        self._n_sums = self._n_handed = self._n_joined = 0

    @classmethod
    def alone(cls) -> Ranks:
        """Return the ranks of a single process."""
        return cls(0, 1)

    @classmethod
    def from_environment(cls, *, timeout_s: float = _TIMEOUT_S) -> Ranks:
        """Return the ranks that torchrun set up (``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT``).

        Raises
        ------
        InputError
            These variables are incomplete or wrong.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return cls.alone()
        from torch.distributed.rendezvous import rendezvous

        try:
            local = os.environ.get("LOCAL_RANK")
            timeout = timedelta(seconds=timeout_s)
            store, rank, size = next(rendezvous("env://", timeout=timeout))
            return cls(
                rank,
                size,
                local=None if local is None else int(local),
                store=store,
                timeout_s=timeout_s,
            )
        except (ValueError, RuntimeError) as error:
            message = (
                "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT must connect all processes of "
                f"the run; got {' '.join(str(error).split())[:200]}. Start them with torchrun, or set all four."
            )
            raise InputError(message) from error

    @property
    def is_alone(self) -> bool:
        """Whether there is a single process."""
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this process does the work that is done once."""
        return self.rank == 0

    def cut(self, total: int) -> tuple[int, int]:
        """Return first and last (exclusive) of this rank's part of ``total``."""
        return total * self.rank // self.size, total * (self.rank + 1) // self.size

    def counters(self, *counters: int) -> tuple[int, ...]:
        """Return the counters of a random stream of this rank: with several ranks, its number too."""
        return counters if self.is_alone else (*counters, self.rank, self.size)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """On rank 0: let the other ranks know at the end that the work is done, or what failed."""
        if self.is_alone or not self.is_first:
            yield
            return
        try:
            yield
        except Interrupted as stopped:
            self._announce_last({"signal": stopped.number})
            raise
        except BaseException as error:
            self._announce_last({"failed": str(error) or type(error).__name__})
            raise
        self._announce_last({"over": True})

    def call(self) -> None:
        """On rank 0: start training on the other ranks."""
        if not self.is_alone:
            self._announce({"train": True})

    def called(self) -> bool:
        """On other ranks: wait for rank 0, and return whether there is something to train.

        Raises
        ------
        TrainingError
            Rank 0 failed or died.
        Interrupted
            Rank 0 was asked to stop.
        """
        with _naming_the_lost():
            while not self._store.check([_CALL]):
                time.sleep(_POLL_S)
            news = json.loads(self._store.get(_CALL))
            self._store.add(_HEARD, 1)
        if "signal" in news:
            raise Interrupted(news["signal"])
        if "failed" in news:
            message = f"rank 0 must reach training; got: {news['failed']}"
            raise TrainingError(message)
        return "train" in news

    def hand_out(self, snapshot: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return rank 0's snapshot on all ranks: tensors on the CPU and plain values."""
        if self.is_alone:
            return snapshot
        self._n_handed += 1
        key = f"{_STATE}/{self._n_handed}"
        with _naming_the_lost():
            if self.is_first:
                buffer = io.BytesIO()
                torch.save(snapshot, buffer)
                self._store.set(key, buffer.getvalue())
                return snapshot
            content = io.BytesIO(self._store.get(key))
        given: dict[str, Any] | None = torch.load(content, map_location="cpu", weights_only=True)
        return given

    @contextmanager
    def joined(self, device: str | torch.device) -> Iterator[None]:
        """Connect all ranks: by gloo on the CPU, and also by NCCL if ``device`` is a GPU."""
        if self.is_alone:
            yield
            return
        import torch.distributed as dist

        self._n_joined += 1
        on_gpu = torch.device(device).type == "cuda"
        if torch.device(device).index is not None:
            torch.cuda.set_device(device)
        with _naming_the_lost():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=dist.distributed_c10d.PrefixStore(f"join/{self._n_joined}", self._store),
                rank=self.rank,
                world_size=self.size,
                timeout=self._timeout,
            )
        try:
            yield
            with _naming_the_lost():
                dist.barrier()
        except BaseException:
            if not on_gpu:  # NCCL may wait for ranks that are gone
                dist.destroy_process_group()
            raise
        dist.destroy_process_group()

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum over ranks. It is differentiable: its gradient is summed over ranks too."""
        if self.is_alone:
            return own
        total: Tensor = _Sum.apply(own, self)  # type: ignore[no-untyped-call]
        return total

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over ranks, in one exchange."""
        if self.is_alone or not tensors:
            return
        flat = torch.cat([each.flatten() for each in tensors])
        self._all_reduce(flat)
        parts = torch.split(flat, [each.numel() for each in tensors])
        for each, part in zip(tensors, parts, strict=True):
            each.copy_(part.view_as(each))

    def agree(self, *numbers: int) -> tuple[int, ...]:
        """Return the largest of each number over ranks. It ends a step: `sum` is counted from here."""
        self._n_sums = 0
        if self.is_alone:
            return numbers
        import torch.distributed as dist

        largest = torch.tensor(numbers)
        with _naming_the_lost():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return tuple(largest.tolist())

    def abandon(self, sizes: Sequence[int], *, like: Tensor) -> None:
        """Take part in the rest of the sums of a step that failed here, so that no rank waits.

        Parameters
        ----------
        sizes
            Lengths of all differentiable sums of the step, in order.
        like
            Any tensor of their dtype and device.
        """
        if self.is_alone:
            return
        for size in sizes[self._n_sums :]:
            self.sum_in_place(like.new_zeros(size))

    def sum_in_place(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over ranks, counted as one of the step's sums; return it."""
        self._n_sums += 1
        self._all_reduce(tensor)
        return tensor

    def _all_reduce(self, tensor: Tensor) -> None:
        import torch.distributed as dist

        with _naming_the_lost():
            dist.all_reduce(tensor)

    def _announce_last(self, news: dict[str, Any]) -> None:
        """Leave a message, and wait until all ranks have it: the store may end with this process."""
        until = time.monotonic() + _LINGER_S
        with suppress(TrainingError):  # a rank that is gone needs no message
            self._announce(news)
            while self._n_heard() < self.size - 1 and time.monotonic() < until:
                time.sleep(_POLL_S)

    def _n_heard(self) -> int:
        with _naming_the_lost():
            return int(self._store.add(_HEARD, 0))

    def _announce(self, news: dict[str, Any]) -> None:
        """Leave a message for the other ranks; the first one stays."""
        with _naming_the_lost():
            self._store.compare_set(_CALL, "", json.dumps(news))


class _Sum(torch.autograd.Function):
    """Sum over ranks, in both directions.

    Each rank's loss is its part of the whole loss, and depends on the other ranks' summands through the
    sum. So the gradient of a summand is the sum of the gradients that all ranks have for the sum.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        # A clone, because the exchange overwrites its argument, which the caller still uses.
        return ranks.sum_in_place(own.clone())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum_in_place(grads[0].clone()), None


@contextmanager
def _naming_the_lost() -> Iterator[None]:
    """Raise TrainingError if another rank is gone or does not answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        message = (
            "all ranks must stay in the run; one is gone or does not answer "
            f"({' '.join(str(error).split())[:160]}). See its output, then repeat the same command on "
            "all ranks: training resumes at the last checkpoint."
        )
        raise TrainingError(message) from error
