"""The device to compute on, and the versions of the libraries."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from scrcl import __version__
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["deterministic", "resolve_device", "versions"]

_LIBRARIES = (
    "anndata", "dask", "faiss-cpu", "faiss-gpu", "h5py", "harmonypy", "numpy", "pandas", "scanpy",
    "scikit-learn", "scipy", "torch", "zarr",
)  # fmt: skip


def resolve_device(name: str, local_rank: int | None = None) -> str:
    """Return ``cpu`` or ``cuda[:N]`` for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    If several processes share a machine, ``auto`` and ``cuda`` mean the GPU of ``local_rank``.

    Raises
    ------
    InputError
        torch does not see the requested CUDA device.
    """
    if name == "cpu":
        return "cpu"
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not n_devices:
        return "cpu"
    if name in {"auto", "cuda"}:
        name = "cuda" if local_rank is None else f"cuda:{local_rank}"
    if int(name.partition(":")[2] or 0) >= n_devices:
        message = (
            f"device must be one that torch sees ({n_devices} CUDA devices); got {name}. Use auto or cpu"
            f"{'' if local_rank is None or not n_devices else ', or start fewer processes'}."
        )
        raise InputError(message)
    return name


@contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Make torch deterministic on a GPU inside the block; on the CPU it always is.

    Operations without a deterministic form on a GPU give a warning and run.
    """
    if not device.startswith("cuda"):
        yield
        return
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    was_on = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=warned_only)


def versions() -> dict[str, str]:
    """Versions of scrcl, Python and the libraries that affect results; missing ones are left out."""
    found = {"scrcl": __version__, "python": platform.python_version()}
    return found | {name: known for name in _LIBRARIES if (known := _version(name)) is not None}


@cache  # it opens and parses a file
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
