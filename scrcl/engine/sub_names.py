"""Names that the user gave to subclusters. They lie in the folder of the look into their cluster, and go with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scrcl._atomic import write_json
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SUB_NAMES", "keep_sub_names", "sub_names"]

SUB_NAMES = "names.json"
"""File in the folder of a look: names by subcluster."""


def sub_names(look: Path) -> dict[str, str]:
    """Return the names that were given to the subclusters of a look.

    Raises
    ------
    StoreError
        They cannot be read.
    """
    path = look / SUB_NAMES
    if not path.exists():
        return {}
    try:
        return {str(key): str(name) for key, name in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        message = (
            f"{path} must hold the names that were given; got {type(error).__name__}. "
            "Delete it, and name the subclusters again."
        )
        raise StoreError(message) from error


def keep_sub_names(looks: Path, names: Mapping[str, str]) -> None:
    """Keep names of subclusters such as ``3_0``, over those that they had; an empty name takes the earlier one away.

    Parameters
    ----------
    looks
        Folder in OUT with a folder for each cluster that was looked into.
    """
    for cluster in {name.partition("_")[0] for name in names}:
        look = looks / cluster
        of_cluster = {key: name for key, name in names.items() if key.startswith(f"{cluster}_")}
        merged = {**sub_names(look), **of_cluster}
        write_json(look / SUB_NAMES, {key: name for key, name in merged.items() if name})
