"""From the options of a command to the settings of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scrcl.engine.config import RunConfig

__all__ = ["number", "resolved"]


def resolved(
    config: Path | None,
    settings: Sequence[str] | None,
    *,
    n_clusters: str | None,
    knn: str | None,
    recall: float | None,
    **given: Any,
) -> RunConfig:
    """Return the settings: those of the file, then ``given`` and the other options, then those of ``--set``."""
    from scrcl.engine.load_config import load_config

    given |= {"n_clusters": number(n_clusters)}
    overrides = {name: value for name, value in given.items() if value is not None}
    graph = {"graph.backend": knn, "graph.recall": recall}
    named = [f"{name}={value}" for name, value in graph.items() if value is not None]
    return load_config(config, settings=[*named, *(settings or ())], overrides=overrides)


def number(text: str | None) -> int | str | None:
    """Return digits as a number; the configuration refuses what is neither that nor `auto`."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,20}", text) else text
