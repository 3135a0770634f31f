"""Paths of inputs as callers give them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    try:
        paths = (
            [Path(inputs)] if isinstance(inputs, str | Path) else [Path(each) for each in inputs]
        )
    except TypeError:
        message = f"inputs must be a path or several paths; got {type(inputs).__name__}."
        raise InputError(message) from None
    if not paths:
        message = "inputs must name at least one file; got none."
        raise InputError(message)
    return paths
