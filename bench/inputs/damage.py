"""Random damages to a file or folder: bytes, lengths, attributes, types, parts that are gone, lines of text."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DAMAGES", "fitting"]

_TYPES = ("S5", "f8", "f4", "i8", "i1", "u2", "c16", "?")
_LINES = (
    "",
    "1",
    "1 2",
    "1 2 3 4",
    "x y z",
    "0 0 1",
    "1 1 -3",
    "1 1 nan",
    "1 1 1e400",
    "\0",
    "a\tb\tc\td",
)


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _any(rng: np.random.Generator, things: list[Any]) -> Any:
    return things[int(rng.integers(len(things)))]


def flip_bytes(path: Path, rng: np.random.Generator) -> str:
    """Change one to eight bytes of one file."""
    file = _any(rng, [each for each in _files(path) if each.stat().st_size])
    content = bytearray(file.read_bytes())
    places = rng.integers(len(content), size=rng.integers(1, 9))
    for place in places:
        content[place] ^= int(rng.integers(1, 256))
    file.write_bytes(content)
    return f"{len(places)} bytes of {file.name}"


def cut_short(path: Path, rng: np.random.Generator) -> str:
    """Cut a file short."""
    file = _any(rng, [each for each in _files(path) if each.stat().st_size])
    size = int(rng.integers(file.stat().st_size))
    file.write_bytes(file.read_bytes()[:size])
    return f"{file.name} cut to {size} bytes"


def delete_file(path: Path, rng: np.random.Generator) -> str:
    """Delete a file of a folder."""
    file = _any(rng, _files(path))
    file.unlink()
    return f"{file.relative_to(path)} deleted"


def change_line(path: Path, rng: np.random.Generator) -> str:
    """Replace, repeat or delete a line of a text."""
    file = _any(rng, _files(path))
    zipped = file.suffix == ".gz"
    content = gzip.decompress(file.read_bytes()) if zipped else file.read_bytes()
    lines = content.decode(errors="replace").split("\n")
    at, how = int(rng.integers(len(lines))), int(rng.integers(3))
    if how == 0:
        lines[at] = _any(rng, list(_LINES))
    elif how == 1:
        lines.insert(at, lines[at])
    else:
        del lines[at]
    text = "\n".join(lines).encode()
    file.write_bytes(gzip.compress(text, mtime=0) if zipped else text)
    return f"line {at + 1} of {file.name} {('replaced', 'repeated', 'deleted')[how]}"


class _Tree:
    """A store open for writing, HDF5 or Zarr, with all of its elements."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path, "r+") if path.is_file() else None
        self.root: Any = (
            zarr.open_group(path, mode="r+", use_consolidated=False)
            if self.file is None
            else self.file
        )
        self.elements: list[str] = []
        self._collect(self.root, "")

    def _collect(self, group: Any, prefix: str) -> None:
        for key in sorted(group.keys()):
            name = f"{prefix}{key}"
            self.elements.append(name)
            if hasattr(group[key], "keys"):
                self._collect(group[key], f"{name}/")

    def arrays(self) -> list[str]:
        return [name for name in self.elements if getattr(self.root[name], "shape", ())]

    def replace(self, name: str, values: np.ndarray) -> None:
        attributes = dict(self.root[name].attrs)
        group, _, key = name.rpartition("/")
        where = self.root[group] if group else self.root
        del where[key]
        if self.file is not None:
            where[key] = values
        else:
            where.create_array(key, data=values)
        self.root[name].attrs.update(attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()


def delete_element(path: Path, rng: np.random.Generator) -> str:
    """Delete a group or an array of a store."""
    with _Tree(path) as tree:
        name = _any(rng, tree.elements)
        del tree.root[name]
    return f"{name} deleted"


def change_attribute(path: Path, rng: np.random.Generator) -> str:
    """Delete an attribute of a store, or give it another value."""
    with _Tree(path) as tree:
        owners = [name for name in tree.elements if len(tree.root[name].attrs)]
        if not owners:
            return cut_short(path, rng)
        name = _any(rng, owners)
        attributes = tree.root[name].attrs
        key = _any(rng, sorted(attributes))
        values = [None, "of-the-future", "", 7, -1, [3, 4], [0, 0], 1e300]
        value = _any(rng, values)
        del attributes[key]
        if value is not None:
            attributes[key] = value
    return f"attribute {key} of {name} {'deleted' if value is None else f'set to {value!r}'}"


def change_length(path: Path, rng: np.random.Generator) -> str:
    """Make an array of a store shorter or longer."""
    with _Tree(path) as tree:
        name = _any(rng, tree.arrays())
        values = tree.root[name][...]
        size = len(values)
        length = max(int(_any(rng, [0, size - 1, size + 1, 2 * size, size // 2])), 0)
        tree.replace(name, np.resize(values, (length, *values.shape[1:])) if length else values[:0])
    return f"length of {name} set to {length}"


def change_type(path: Path, rng: np.random.Generator) -> str:
    """Give the values of an array another type."""
    with _Tree(path) as tree:
        name, kind = _any(rng, tree.arrays()), _any(rng, list(_TYPES))
        values = tree.root[name][...]
        try:
            changed = values.astype(kind)
        except (TypeError, ValueError):
            changed = np.arange(values.size).reshape(values.shape).astype(kind)
        tree.replace(name, changed)
    return f"type of {name} set to {kind}"


def change_values(path: Path, rng: np.random.Generator) -> str:
    """Set one number of an array of a store to one that does not fit there."""
    with _Tree(path) as tree:
        names = [name for name in tree.arrays() if tree.root[name].dtype.kind in "iuf"]
        name = _any(rng, [name for name in names if tree.root[name].shape[0]])
        values = np.atleast_1d(tree.root[name][...])
        largest = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else np.nan
        value = _any(
            rng, [0, values.dtype.type(largest), *([-1] if values.dtype.kind != "u" else [])]
        )
        place = int(rng.integers(values.size))
        values.reshape(-1)[place] = value
        tree.replace(name, values)
    return f"value {place} of {name} set to {value}"


DAMAGES: dict[str, Callable[[Path, np.random.Generator], str]] = {
    "bytes": flip_bytes,
    "cut short": cut_short,
    "file deleted": delete_file,
    "line of text": change_line,
    "element deleted": delete_element,
    "attribute": change_attribute,
    "length": change_length,
    "type": change_type,
    "value": change_values,
}
"""Each changes a file or folder in place, and returns what it did."""

_OF_STORES = ("element deleted", "length", "type", "value")


def fitting(path: Path) -> list[str]:
    """Return the damages that a file or folder can have."""
    names = ["bytes", "cut short"]
    if path.is_dir():
        names.append("file deleted")
    if path.suffix in (".h5ad", ".zarr"):
        return [*names, *_OF_STORES, "attribute"]
    if path.suffix == ".h5":
        return [*names, *_OF_STORES]
    return [*names, "line of text"] if path.is_dir() else names
