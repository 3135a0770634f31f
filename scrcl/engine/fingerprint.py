"""Fingerprints: hashes of all that a run depends on, by which its output folder is known again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._settings import settings_of
from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl._settings import Settings

__all__ = ["DATA_KEYS", "fingerprint_of", "fingerprint_of_array", "fingerprints_of_files"]

DATA_KEYS = ("input", "coordinates", "samples", "batches", "tables", "atlas", "learned")
"""What the fingerprint depends on besides settings: the identity of the input, hashes of covariates and of files
that settings name and, for a prediction, the run that it came from."""


def fingerprint_of(*parts: Any) -> str:
    """Hash of JSON values, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fingerprint_of_array(values: np.ndarray) -> str:
    """Hash of the values of an array, its shape and dtype."""
    array = np.ascontiguousarray(values)
    hashed = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    hashed.update(array.data)
    return hashed.hexdigest()


def fingerprints_of_files(config: Settings) -> dict[str, Any]:
    """Return hashes of the files that settings name, by setting, under ``tables``; empty if there are none."""
    found = {}
    for setting in settings_of(config):
        if isinstance(setting.value, Path):
            try:
                content = setting.value.read_bytes()
            except OSError as error:
                message = (
                    f"{setting.name} must be a readable file; got {setting.value} ({error.strerror}). "
                    "Check the path."
                )
                raise InputError(message) from None
            found[setting.name] = hashlib.blake2b(content, digest_size=16).hexdigest()
    return {"tables": found} if found else {}
