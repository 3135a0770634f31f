"""The least arithmetic and memory traffic of a training step, and the best rates of the machine."""

# Shapes: A = anchors, B = seed cells, P = pairs, F = input width, D = dim, C = refined_dim.

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ceilings", "step_bytes", "step_flops"]

BLOCK_ROWS = 8_192
SQUARE = 2_048
COPIED_BYTES = 1 << 28


def step_flops(a: int, b: int, p: int, *, f: int, d: int, c: int) -> dict[str, float]:
    """Return the operations of a step: the least, and those of encoding anchors a second time."""
    first_layers = 2 * 2.0 * a * f * d
    refined = 2.0 * a * d * c
    last_layers = 2 * 2.0 * b * d * d + 2.0 * b * d * c
    pairs = 2.0 * p * (2 * d + d + c)
    # A first layer's input needs no gradient: its backward pass is one product, not two.
    least = 2 * first_layers + 3 * (refined + last_layers) + 3 * pairs
    return {"least": least, "again": first_layers + refined}


def step_bytes(a: int, p: int, *, f: int) -> float:
    """Return the bytes of a step if only inputs leave the cache.

    Rows are read, joined, and used three times: encoded, encoded again in the backward pass, and multiplied there.
    Pairs are read in both orders, with values.
    """
    return 4.0 * (2 * a * f * 5 + 8 * p)


def ceilings(f: int, d: int, device: torch.device, *, repeats: int) -> dict[str, float]:
    """Return the best rates: products of a block's shape and of square matrices (GFLOP/s), copies (GB/s)."""
    found: dict[str, float] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for kind, n, k, m in (("block", BLOCK_ROWS, f, d), ("square", SQUARE, SQUARE, SQUARE)):
            rows = torch.randn(n, k, device=device).to(dtype)
            weight = torch.randn(m, k, device=device).to(dtype)
            took = min(_seconds_of(partial(linear, rows, weight), device, repeats))
            found[f"{kind}_{name}_gflops"] = 2e-9 * n * k * m / took
    source = torch.ones(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    took = min(_seconds_of(partial(target.copy_, source), device, repeats))
    found["copy_gbytes"] = 2e-9 * COPIED_BYTES / took
    return found


def _seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Return the seconds of each of ``repeats`` calls, after one that warms up."""
    found = []
    for repeat in range(repeats + 1):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        if repeat:
            found.append(time.perf_counter() - began)
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
