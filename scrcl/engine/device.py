"""Which device to compute on, and which libraries are at work."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from scrcl import __version__
from scrcl.errors import InputError

__all__ = ["resolve_device", "versions"]

_LIBRARIES = (
    "anndata", "dask", "faiss-cpu", "faiss-gpu", "h5py", "numpy", "pandas", "scanpy",
    "scikit-learn", "scipy", "torch", "umap-learn", "zarr",
)  # fmt: skip


def resolve_device(name: str) -> str:
    """Return ``cpu`` or ``cuda[:N]`` for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    InputError
        A CUDA device is asked for that torch does not see.
    """
    if name == "cpu":
        return "cpu"
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if n_devices else "cpu"
    if int(name.partition(":")[2] or 0) >= n_devices:
        message = f"device must be one that torch sees ({n_devices} CUDA devices); got {name}. Use auto or cpu."
        raise InputError(message)
    return name


def versions() -> dict[str, str]:
    """Versions of scrcl, Python and the libraries that a result depends on; absent ones are left out."""
    found = {"scrcl": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
