"""Identity of an input: enough to notice a change, and cheap enough to compute at every start."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

    from scrcl.typing import Csr

__all__ = ["content_of", "digest", "file_identity", "is_in_memory", "memory_identity", "paths_of"]


_SAMPLES, _SAMPLE_BYTES = 256, 1 << 14
"""So many pieces of a file are hashed, and of a folder pieces of so many files."""


def file_identity(path: Path, *, shape: tuple[int, int], layer: str | None) -> dict[str, Any]:
    """Return the path, total size, time of the last change, shape, layer and content of a file or folder.

    The content is a hash of 256 pieces of 16 kB, evenly spaced: all of a file below 4 MB. It costs the same whatever
    the size. The names and sizes of the files of a folder are hashed too.
    """
    path = path.resolve()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [p.stat() for p in files]
    sizes = [s.st_size for s in stats]
    return {
        "path": str(path),
        "bytes": sum(sizes),
        "mtime_ns": max((s.st_mtime_ns for s in stats), default=0),
        "shape": list(shape),
        "layer": layer,
        "content": _content(path, files, sizes),
    }


def content_of(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity without where the input lies and when it was changed: copies of a file are the same input."""
    kept = {key: value for key, value in identity.items() if key not in ("path", "mtime_ns")}
    if "samples" in kept:
        kept["samples"] = [content_of(sample) for sample in kept["samples"]]
    return kept


def paths_of(identity: dict[str, Any]) -> list[str]:
    """Return where an input lies; empty if it is in memory."""
    samples = identity.get("samples", [identity])
    return [str(sample["path"]) for sample in samples if "path" in sample]


def is_in_memory(identity: dict[str, Any]) -> bool:
    """Return whether an identity is that of an object in memory (`memory_identity`)."""
    return "blake2b" in identity


def _content(root: Path, files: list[Path], sizes: list[int]) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for path, size in zip(files, sizes, strict=True):
        name = "" if path == root else path.relative_to(root).as_posix()
        hashed.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    step = max(len(files) // _SAMPLES, 1)
    chosen = range(0, len(files), step)
    pieces = max(_SAMPLES // max(len(chosen), 1), 1)
    for number in chosen:
        with files[number].open("rb") as file:
            last = max(sizes[number] - _SAMPLE_BYTES, 0)
            n_pieces = min(pieces, last // _SAMPLE_BYTES + 2)
            for start in np.linspace(0, last, n_pieces).astype(int).tolist():
                file.seek(start)
                hashed.update(file.read(_SAMPLE_BYTES))
    return hashed.hexdigest()


def memory_identity(
    blocks: Iterable[Csr | np.ndarray],
    shape: tuple[int, int],
    obs_names: pd.Index,
    var_names: pd.Index,
) -> dict[str, Any]:
    """Return the shape of a matrix in memory, and a hash of its values and names.

    Parameters
    ----------
    blocks
        Its rows, in one block or several; each is used once.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for block in blocks:
        dense = isinstance(block, np.ndarray)
        arrays = (
            [block] if dense else [getattr(block, part) for part in ("data", "indices", "indptr")]
        )
        for array in arrays:
            hashed.update(np.ascontiguousarray(array).data)
    for names in (obs_names, var_names):
        hashed.update("\0".join(map(str, names)).encode(errors="surrogatepass"))
    return {"shape": list(shape), "blake2b": hashed.hexdigest()}


def digest(identity: dict[str, Any]) -> str:
    """Return a short hash of what an identity holds, for file names."""
    return hashlib.blake2b(
        repr(sorted(content_of(identity).items())).encode(), digest_size=8
    ).hexdigest()
