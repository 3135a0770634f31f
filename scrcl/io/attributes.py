"""Attributes of elements on disk, as text. Libraries of R write texts of fixed length, or a list of one text."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["text_attribute", "text_list"]


def text_attribute(element: Any, key: str) -> str | None:
    """Return an attribute that is one text; None if there is none, or it is something else."""
    value = getattr(element, "attrs", {}).get(key)
    if isinstance(value, np.ndarray | list | tuple) and np.size(value) == 1:
        value = np.ravel(np.asarray(value, dtype=object))[0]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value) if isinstance(value, str) else None


def text_list(element: Any, key: str) -> list[str] | None:
    """Return an attribute that is a list of texts, or one text; None if there is none."""
    value = getattr(element, "attrs", {}).get(key)
    if value is None:
        return None
    texts = np.ravel(np.asarray(value, dtype=object)).tolist()
    return [
        each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in texts
    ]
