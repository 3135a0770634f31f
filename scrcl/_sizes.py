"""Sizes of memory as people write and read them."""

from __future__ import annotations

from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.filesize import decimal

__all__ = ["format_bytes", "parse_bytes"]

_BYTE_SIZE = TypeAdapter(ByteSize)


def parse_bytes(value: object) -> int:
    """Bytes from a number or from text such as ``"2GB"``, ``"512MiB"`` or ``"1.5 G"``.

    A plain number is bytes, as a number or as text.
    """
    text = str(value).strip()
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        pass
    try:
        # ByteSize ignores what follows the first word: it would read "1,5GB" as one byte.
        if ByteSize.byte_string_re.fullmatch(text):
            return int(_BYTE_SIZE.validate_python(text))
    except ValidationError:
        pass
    message = f"memory must be a size such as 2GB or 512MiB; got {value!r}."
    raise ValueError(message)


def format_bytes(n_bytes: float) -> str:
    """Text such as ``1.90 GB`` (powers of ten) for people to read."""
    return decimal(round(n_bytes), precision=2)
