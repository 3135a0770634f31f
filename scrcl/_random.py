"""Named random streams: each generator follows from the seed, a name and counters.

No stream depends on earlier draws. So mini-batch ``n`` is a function of ``(seed, n)``, and resuming a run needs
no saved generator state.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["derive_seed", "drawn_rows", "stream", "torch_stream"]


def derive_seed(seed: int, name: str, *counters: int) -> int:
    """Return a 63-bit seed for the stream ``name`` and its counters, the same on all machines and versions."""
    key = "/".join([str(seed), name, *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return the NumPy generator of the stream ``name``, for example ``stream(0, "io.plan", epoch)``."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, name, *counters)))


def drawn_rows(n_rows: int, n_most: int, seed: int, name: str) -> NDArray[np.int64]:
    """Return a random subset of ``n_most`` rows, ascending, or all rows if there are fewer."""
    if n_rows <= n_most:
        return np.arange(n_rows)
    return np.sort(stream(seed, name).choice(n_rows, n_most, replace=False))


def torch_stream(
    seed: int, name: str, *counters: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return the torch generator of the stream ``name`` on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, name, *counters))
