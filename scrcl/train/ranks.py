"""Several processes that train one model on the parts of each batch.

Every rank holds the whole model and reads the rows that its seed cells need. A step adds up three
flat vectors: the means over the batch, their gradient, and the gradient of the weights. All ranks
then take the same step, so their weights are the same to the last bit.

Gradients are added here and not by `torch.nn.parallel.DistributedDataParallel`: it takes the mean
of independent losses, and knows nothing of means that all ranks share. The model has some hundred
thousand weights, so one flat vector is all there is to send, and sharding them (FSDP) would save
less than a megabyte a rank.
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

TIMEOUT_S = 300.0
"""How long a rank waits for the others in one exchange; a rank that died is noticed at once on the CPU."""

SUMS_A_STEP = 2
"""Differentiable sums of a step: forwards and backwards."""

_CALL, _HEARD, _STATE = "call", "heard", "state"
_POLL_S, _LINGER_S = 0.1, 10.0


class Ranks:
    """Place of this process among those that train together.

    Parameters
    ----------
    rank, size
        Number of this process, and of all; rank 0 does everything but train alone.
    local
        Number of this process on its machine, which is that of its GPU.
    store
        ``torch.distributed`` store that all processes reach; None where there is one process.
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
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.rank, self.size, self.local = rank, size, local
        self._store, self._timeout = store, timedelta(seconds=timeout_s)
        self._n_sums = self._n_handed = self._n_joined = 0

    @classmethod
    def alone(cls) -> Ranks:
        """Return the only process."""
        return cls(0, 1)

    @classmethod
    def from_environment(cls, *, timeout_s: float = TIMEOUT_S) -> Ranks:
        """Return what ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT`` say, as of torchrun.

        Raises
        ------
        InputError
            When they are incomplete or wrong.
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
            msg = (
                "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT must lead to all processes of the "
                f"run; got {' '.join(str(error).split())[:200]}. Start them with torchrun, or set all four."
            )
            raise InputError(msg) from error

    @property
    def is_alone(self) -> bool:
        """Whether there is one process."""
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this process does what is done once."""
        return self.rank == 0

    def cut(self, total: int) -> tuple[int, int]:
        """Return first and last (exclusive) of this rank's part of ``total``."""
        return total * self.rank // self.size, total * (self.rank + 1) // self.size

    def counters(self, *counters: int) -> tuple[int, ...]:
        """Return what names a random stream of this rank: with others, its place among them too."""
        return counters if self.is_alone else (*counters, self.rank, self.size)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """On rank 0: tell the others at the end that there is nothing (more) to do, or what failed."""
        if self.is_alone or not self.is_first:
            yield
            return
        try:
            yield
        except Interrupted as stopped:
            self._tell_all({"signal": stopped.number})
            raise
        except BaseException as error:
            self._tell_all({"failed": str(error) or type(error).__name__})
            raise
        self._tell_all({"over": True})

    def call(self) -> None:
        """On rank 0: let the others come to training."""
        if not self.is_alone:
            self._tell({"train": True})

    def called(self) -> bool:
        """On other ranks: wait for rank 0; returns whether there is something to train.

        Raises
        ------
        TrainingError
            When rank 0 failed or died.
        Interrupted
            When it was asked to stop.
        """
        with _naming_the_lost():
            while not self._store.check([_CALL]):
                time.sleep(_POLL_S)
            said = json.loads(self._store.get(_CALL))
            self._store.add(_HEARD, 1)
        if "signal" in said:
            raise Interrupted(said["signal"])
        if "failed" in said:
            msg = f"rank 0 must reach training; got: {said['failed']}"
            raise TrainingError(msg)
        return "train" in said

    def hand_out(self, snapshot: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return what rank 0 gives on all ranks: tensors on the CPU and plain values."""
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
        """Connect all ranks: gloo for the CPU, NCCL beside it where ``device`` is a GPU."""
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
            if not on_gpu:  # NCCL's may wait for ranks that are gone
                dist.destroy_process_group()
            raise
        dist.destroy_process_group()

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum over ranks, differentiable: its gradient too is the sum over ranks."""
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
        """Return the largest of each number over ranks; ends what `sum` is counted in."""
        self._n_sums = 0
        if self.is_alone:
            return numbers
        import torch.distributed as dist

        largest = torch.tensor(numbers)
        with _naming_the_lost():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return tuple(largest.tolist())

    def abandon(self, like: Tensor) -> None:
        """Take part in the sums of a step that failed here, so that no rank waits for this one."""
        while not self.is_alone and self._n_sums < SUMS_A_STEP:
            self.sum_in_place(torch.zeros_like(like))

    def sum_in_place(self, tensor: Tensor) -> Tensor:
        """Turn a tensor into its sum over ranks, one of a step's `SUMS_A_STEP`; returns it."""
        self._n_sums += 1
        self._all_reduce(tensor)
        return tensor

    def _all_reduce(self, tensor: Tensor) -> None:
        import torch.distributed as dist

        with _naming_the_lost():
            dist.all_reduce(tensor)

    def _tell_all(self, what: dict[str, Any]) -> None:
        """Leave word, and stay until all have it: the store may end with this process."""
        until = time.monotonic() + _LINGER_S
        with suppress(TrainingError):  # whoever is gone needs no word
            self._tell(what)
            while self._n_heard() < self.size - 1 and time.monotonic() < until:
                time.sleep(_POLL_S)

    def _n_heard(self) -> int:
        with _naming_the_lost():
            return int(self._store.add(_HEARD, 0))

    def _tell(self, what: dict[str, Any]) -> None:
        """Leave word for the others; what was said first stays."""
        with _naming_the_lost():
            self._store.compare_set(_CALL, "", json.dumps(what))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum_in_place(own.clone())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum_in_place(grads[0].clone()), None


@contextmanager
def _naming_the_lost() -> Iterator[None]:
    """Raise TrainingError where another rank is gone or does not answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        msg = (
            "all ranks must stay in the run; one is gone or does not answer "
            f"({' '.join(str(error).split())[:160]}). See what it said, and start all again with the "
            "same command: training goes on from the last checkpoint."
        )
        raise TrainingError(msg) from error
