"""Write files and folders that are complete or absent: write a partial one, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["atomic_folder", "atomic_path", "flush", "remove", "write_json"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write. It is renamed to ``path`` if the block ends without an error."""
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        yield partial
        _sync(partial)
        if path.is_dir():  # a rename replaces a file, but not a folder with content
            remove(path)
        partial.replace(path)
        _sync(path.parent)
    except BaseException:
        remove(partial)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder. It is renamed to ``path`` if the block ends without an error."""
    with atomic_path(path) as partial:
        partial.mkdir(parents=True)
        yield partial


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON. The file is complete or absent."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def remove(path: Path) -> None:
    """Delete a file, or a folder with all its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush one file, or the entries of one folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """Flush a file, or a folder and every file in it, to the disk."""
    inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else []
    for each in [*inside, path]:
        flush(each)
