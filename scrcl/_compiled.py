"""Loops over stored values, compiled once for this machine and run without the interpreter lock."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]


@cache
def compiled(function: Callable[..., Any], *, contract: bool = False) -> Callable[..., Any]:
    """Return ``function`` compiled by numba; its machine code is kept on disk where that can be.

    Parameters
    ----------
    function
        A loop over arrays, at the top level of a module.
    contract
        Join a product and a sum into one rounding. Order of sums stays as written.
    """
    from numba import njit

    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"} if contract else False}
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder that could hold the code
        return njit(**options)(function)  # type: ignore[no-any-return]
