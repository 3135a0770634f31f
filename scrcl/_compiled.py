"""Compile loops over arrays with numba, to run without the interpreter lock."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]


@cache
def compiled(function: Callable[..., Any], *, contract: bool = False) -> Callable[..., Any]:
    """Return ``function`` compiled by numba. The machine code is cached on disk if possible.

    Parameters
    ----------
    function
        A loop over arrays, at the top level of a module.
    contract
        Allow fused multiply-add, which rounds a product and a sum once. The order of sums does not change.
    """
    from numba import njit

    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"} if contract else False}
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable folder for the cache
        return njit(**options)(function)  # type: ignore[no-any-return]
