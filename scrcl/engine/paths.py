"""Paths of inputs as callers give them, and where an output may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from scrcl.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

    from scrcl.engine.config import RunConfig
    from scrcl.io.matrix import CellMatrix

__all__ = ["Inputs", "input_paths", "is_anndata", "keep_apart", "moved_paths", "open_files"]

_IN_A_FOLDER = ("matrix.mtx", "matrix.mtx.gz")
"""Files that are only a part of their input, which is the folder."""

Inputs: TypeAlias = "str | Path | Sequence[str | Path]"
"""One input or several, which are samples."""


def is_anndata(data: object) -> TypeGuard[AnnData]:
    """Return whether an input is an AnnData, without loading that library."""
    return type(data).__name__ == "AnnData"


def input_paths(inputs: Inputs, *, argument: str = "inputs") -> list[Path]:
    """Return one path or several as a list; errors name the ``argument`` that they were given as.

    Raises
    ------
    InputError
        There is none, or a value is not a path.
    """
    if is_anndata(inputs):
        message = f"{argument} must be files here; got an AnnData. Write it with write_h5ad, and give the path."
        raise InputError(message)
    given: list[object] = [inputs] if isinstance(inputs, str | PathLike) else []
    if isinstance(inputs, Sequence | Iterator) and not given:
        given = list(inputs)
        if not given:
            message = f"{argument} must name at least one file; got none. Give a path."
            raise InputError(message)
    wrong = [each for each in given or [inputs] if not isinstance(each, str | PathLike)]
    if wrong:
        several = "several of " if given else ""
        message = (
            f"{argument} must be a path, several paths, or one AnnData; got {several}{type(wrong[0]).__name__}. "
            "Write it as .h5ad, or make one AnnData of it."
        )
        raise InputError(message)
    if "" in given:
        message = f"{argument} must be paths; got an empty text. Give a path."
        raise InputError(message)
    return [Path(str(each)) for each in given]


def open_files(
    inputs: Sequence[Path], config: RunConfig, scratch: Path | None = None
) -> CellMatrix:
    """Open inputs as settings say. In the folder ``scratch``, a layout that cannot be streamed by rows is rewritten."""
    from scrcl.io.open import open_input

    return open_input(inputs, layer=config.layer, join=config.join, scratch=scratch)


def moved_paths(inputs: Inputs | None) -> list[Path]:
    """Return where the input of a finished run is now; empty if the caller does not say.

    Raises
    ------
    InputError
        A value is not a path.
    """
    if inputs is None or (isinstance(inputs, Sequence) and len(inputs) == 0):
        return []
    return input_paths(inputs)


def keep_apart(identity: dict[str, Any], out: Path) -> None:
    """Refuse an OUT that is an input, holds one, or lies in one: inputs are never written to."""
    here = out.resolve()
    for sample in identity.get("samples", [identity]):
        there = Path(sample["path"]) if "path" in sample else None
        if there and there.name in _IN_A_FOLDER:
            there = there.parent
        if there and (there.is_relative_to(here) or here.is_relative_to(there)):
            message = f"OUT must be apart from the input; got {out} and {there}. Name another OUT."
            raise InputError(message)
