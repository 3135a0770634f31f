"""Batches that the input itself shows, where the settings ask for batches and name none.

Several files are samples, and their column is the natural key of the batches. Nothing is corrected unasked: this is
for settings that have no meaning without batches (`scrcl._settings.Settings.asks_for_batches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._settings import Settings
from scrcl.engine.found_slices import OF_FILES, files_of, with_slices
from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.engine.config import RunConfig
    from scrcl.io.matrix import CellMatrix

__all__ = ["with_found"]


def with_found(config: RunConfig, matrix: CellMatrix) -> tuple[RunConfig, tuple[str, ...]]:
    """Return the settings with the slices and batches that the input shows, and what the user should know about them.

    Raises
    ------
    InputError
        A setting needs batches, and neither the settings nor the input have any.
    """
    config, notes = with_slices(config, matrix)
    asked = [
        text
        for _, group in config
        if isinstance(group, Settings) and (text := group.asks_for_batches())
    ]
    if config.batch_key is not None or not asked:
        return config, notes
    n_files = files_of(matrix)
    if n_files < 2 or OF_FILES not in matrix.fresh_obs():
        message = f"{asked[0]} must go with batch_key; got none. Name a column of obs with the batches by `batch_key`."
        raise InputError(message)
    note = (
        f"The {n_files:,} inputs are taken for batches (`batch_key={OF_FILES!r}`), since {asked[0]} asks for batches. "
        "If others are meant, name their column by `batch_key`."
    )
    return config.model_copy(update={"batch_key": OF_FILES}), (*notes, note)
