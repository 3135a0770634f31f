"""Dataclasses of arrays that lie in one ``.npz`` file each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_path
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

__all__ = ["ArrayFile"]


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """Base of a dataclass whose fields are arrays."""

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file. It is complete or absent."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        StoreError
            The file is missing, damaged, or of another kind.
        """
        try:
            with path.open("rb") as file, np.load(file) as stored:
                return cls(**{field.name: stored[field.name] for field in fields(cls)})
        except Exception as error:
            message = (
                f"{path} must be an .npz file written by scrcl ({cls.__name__}); got {type(error).__name__}: {error}. "
                "Delete its folder, and repeat the command that made it."
            )
            raise StoreError(message) from error
