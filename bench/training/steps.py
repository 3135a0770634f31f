"""Training steps on the stored inputs of a run, in a process of its own: rates, waiting, memory, operators."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench._frame.process import peak_rss_bytes
from bench._frame.runs import training_inputs
from bench._frame.training import fresh, setup, train_until
from bench.training.work import ceilings, step_bytes, step_flops
from scrcl.train.methods.scrcl.minibatch import ScrclMinibatches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.method import ScrclLearner
    from scrcl.train.methods.scrcl.minibatch import Minibatch
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup
    from scrcl.train.state import TrainState

__all__ = ["main"]

WARM_STEPS = 2
OPERATORS = 14


class _Watched(ScrclMinibatches):
    """Mini-batches, and the seconds that the loop waited for each."""

    def __init__(self, inputs: Inputs, setup: Setup[ScrclSettings]) -> None:
        super().__init__(inputs, setup)
        self.waited: list[float] = []
        self.asked: list[float] = []
        self.sizes: list[tuple[int, int, int]] = []

    def starting_at(self, step: int) -> Iterator[Minibatch]:
        """Yield them; a GPU finishes its work before each, so that all waiting is idle time."""
        batches = super().starting_at(step)
        while True:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.asked.append(time.perf_counter())
            batch = next(batches)
            self.waited.append(time.perf_counter() - self.asked[-1])
            n_seeds, n_anchors = batch.edges.pattern.shape
            self.sizes.append((n_anchors, n_seeds, len(batch.edges.pattern.columns_p)))
            yield batch


def _measured(
    run: Path, settings: dict[str, Any], *, steps: int, rate_repeats: int, device: str
) -> dict[str, Any]:
    """Train for some steps, profile as many, then measure the best rates of the machine."""
    inputs, where = training_inputs(run), torch.device(device)
    how = setup(**settings, device=where, report_every=10**6)
    state = fresh(inputs, how)
    train_until(state, inputs, how, WARM_STEPS, batches=_Watched(inputs, how))
    watched = _Watched(inputs, how)
    cpu = time.process_time()
    train_until(state, inputs, how, WARM_STEPS + steps, batches=watched)
    ended = time.perf_counter()
    cpu = time.process_time() - cpu
    took = np.diff([*watched.asked, ended])
    anchors, seeds, pairs = (round(float(n)) for n in np.mean(watched.sizes, axis=0))
    shape = {"f": inputs.x.shape[1], "d": how.settings.dim}
    flops = step_flops(anchors, seeds, pairs, **shape, c=how.settings.refined_dim)
    found = {
        "n_cells": inputs.graph.n,
        "settings": settings,
        "device": device,
        "n_threads": torch.get_num_threads(),
        "steps": steps,
        "anchors": anchors,
        "seeds": seeds,
        "pairs": pairs,
        "step_ms": 1e3 * float(np.median(took)),
        "cpu_ms": 1e3 * cpu / steps,
        "waiting": float(sum(watched.waited) / took.sum()),
        "seeds_per_s": float(seeds / np.median(took)),
        "anchors_per_s": float(anchors / np.median(took)),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_device_bytes": torch.cuda.max_memory_allocated(where) if where.type == "cuda" else 0,
        "flops": flops,
        "bytes": step_bytes(anchors, pairs, f=shape["f"]),
    }
    batches = []
    for step in range(min(steps, 5)):
        began = time.perf_counter()
        watched.batch(step)
        batches.append(time.perf_counter() - began)
    found["batch_ms"] = 1e3 * float(np.median(batches))
    found["operators"] = _operators(state, watched, steps)
    found["ceilings"] = ceilings(**shape, device=where, repeats=rate_repeats)
    return found


def _operators(
    state: TrainState[ScrclLearner], batches: ScrclMinibatches, steps: int
) -> list[dict[str, Any]]:
    """Return milliseconds a step of the operators that take longest themselves, and of all others."""
    on_gpu = state.device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
    inputs, how = batches.inputs, batches.setup
    with torch.profiler.profile(activities=kinds) as profile:
        train_until(state, inputs, how, state.step + steps, batches=batches)
    rows = [
        {
            "name": row.key,
            "ms": (row.self_device_time_total if on_gpu else row.self_cpu_time_total) / 1e3 / steps,
            "calls": row.count / steps,
        }
        for row in profile.key_averages()
    ]
    rows.sort(key=lambda row: -row["ms"])
    rest = {"name": "others", "calls": sum(row["calls"] for row in rows[OPERATORS:])}
    return [*rows[:OPERATORS], rest | {"ms": sum(row["ms"] for row in rows[OPERATORS:])}]


def main(arguments: list[str] | None = None) -> None:
    """Measure one run with one set of settings; `bench.training` calls it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rate-repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--found", type=Path, required=True)
    args = parser.parse_args(arguments)
    found = _measured(
        args.run,
        args.settings,
        steps=args.steps,
        rate_repeats=args.rate_repeats,
        device=args.device,
    )
    args.found.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
