"""Sizes of memory as people write and read them."""

from __future__ import annotations

import math

from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.filesize import decimal

__all__ = ["enough_bytes", "format_bytes", "parse_bytes"]

_BYTE_SIZE = TypeAdapter(ByteSize)


_FEWEST_BYTES = 10**6


def parse_bytes(value: object) -> int:
    """Bytes from a number or from text such as ``"2GB"``, ``"512MiB"`` or ``"1.5 G"``.

    A plain number is bytes, as a number or as text. One below a megabyte is refused: its unit was forgotten.
    """
    text = str(value).strip()
    try:
        number = int(float(text))
    except (ValueError, OverflowError):
        pass
    else:
        if 0 < number < _FEWEST_BYTES:
            message = f"memory must have a unit, as in {text}GB; got {value!r}."
            raise ValueError(message)
        return number
    try:
        # ByteSize ignores what follows the first word: it would read "1,5GB" as one byte.
        if ByteSize.byte_string_re.fullmatch(text):
            return int(_BYTE_SIZE.validate_python(text))
    except ValidationError:
        pass
    message = f"memory must be a size such as 2GB or 512MiB; got {value!r}."
    raise ValueError(message)


def enough_bytes(n_bytes: float) -> int:
    """Round up to tens of megabytes: what is asked for, and what is enough."""
    return math.ceil(n_bytes / 10**7) * 10**7


def format_bytes(n_bytes: float) -> str:
    """Text such as ``1.90 GB`` (powers of ten) for people to read."""
    return decimal(round(n_bytes), precision=2)
