"""Sizes of memory, as people write and read them."""

from __future__ import annotations

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{u}B": n for u, n in list(_UNITS.items()) if u not in ("", "B")}
_UNITS |= {f"{u}IB": 2 ** (10 * i) for i, u in enumerate("KMGT", start=1)}


def parse_bytes(value: object) -> int:
    """Bytes from a number or from text such as ``"2GB"``, ``"512MiB"`` or ``"1.5 G"``."""
    text = str(value).strip().upper().replace(" ", "")
    number = text.rstrip("BIKMGT")
    try:
        n_bytes = int(float(number) * _UNITS[text[len(number) :]])
    except (KeyError, ValueError, OverflowError):
        message = f"memory must be a size such as 2GB or 512MiB; got {value!r}."
        raise ValueError(message) from None
    return n_bytes


def format_bytes(n_bytes: float) -> str:
    """Text such as ``1.9 GB`` (powers of ten) for people to read."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n_bytes) < 999.5:
            return f"{n_bytes:.0f} {unit}" if unit in ("B", "kB") else f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
