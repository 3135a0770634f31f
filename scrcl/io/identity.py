"""Identity of an input: enough to notice a change, and cheap enough to compute at every start."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl.typing import Csr

__all__ = ["digest", "file_identity", "memory_identity"]


def file_identity(path: Path, *, shape: tuple[int, int], layer: str | None) -> dict[str, Any]:
    """Return the path, total size, time of the last change, shape and layer of a file or folder."""
    path = path.resolve()
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    stats = [p.stat() for p in files]
    return {
        "path": str(path),
        "bytes": sum(s.st_size for s in stats),
        "mtime_ns": max((s.st_mtime_ns for s in stats), default=0),
        "shape": list(shape),
        "layer": layer,
    }


def memory_identity(
    x: Csr | np.ndarray, obs_names: pd.Index, var_names: pd.Index
) -> dict[str, Any]:
    """Return the shape of a matrix in memory, and a hash of its values and names."""
    arrays = [x] if isinstance(x, np.ndarray) else [x.data, x.indices, x.indptr]
    hashed = hashlib.blake2b(digest_size=16)
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).data)
    for names in (obs_names, var_names):
        hashed.update("\0".join(map(str, names)).encode())
    return {"shape": list(x.shape), "blake2b": hashed.hexdigest()}


def digest(identity: dict[str, Any]) -> str:
    """Return a short hash of an identity, for file names."""
    return hashlib.blake2b(repr(sorted(identity.items())).encode(), digest_size=8).hexdigest()
