"""Paths of inputs as callers give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from scrcl.errors import InputError

__all__ = ["Inputs", "input_paths"]

Inputs: TypeAlias = "str | Path | Sequence[str | Path]"
"""One input or several, which are samples."""


def input_paths(inputs: Inputs) -> list[Path]:
    """Return one path or several as a list.

    Raises
    ------
    InputError
        There is none, or a value is not a path.
    """
    given: list[object] = [inputs] if isinstance(inputs, str | PathLike) else []
    if isinstance(inputs, Sequence | Iterator) and not given:
        given = list(inputs)
        if not given:
            message = "inputs must name at least one file; got none."
            raise InputError(message)
    wrong = [each for each in given or [inputs] if not isinstance(each, str | PathLike)]
    if wrong:
        several = "several of " if given else ""
        message = (
            f"inputs must be a path, several paths, or one AnnData; got {several}{type(wrong[0]).__name__}. "
            "Write it as .h5ad, or make one AnnData of it."
        )
        raise InputError(message)
    if "" in given:
        message = "inputs must be paths; got an empty text."
        raise InputError(message)
    return [Path(str(each)) for each in given]
