"""All errors that scrcl raises on purpose.

A message has the form ``<name> must <rule>; got <value>. <what to do>``. Each class also inherits the closest
class of the standard library, so general code can catch it.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "InputError",
    "MissingDependencyError",
    "ResumeError",
    "ScrclError",
    "StoreError",
    "TrainingError",
]


class ScrclError(Exception):
    """Base class. The command line prints such an error as one line and exits with code 2."""


class InputError(ScrclError, ValueError):
    """An argument, an option or a value in the data is invalid."""


class StoreError(ScrclError, OSError):
    """A file is missing, damaged, of an unknown format, or cannot be written."""


class BudgetError(ScrclError, MemoryError):
    """The work does not fit into the given memory."""


class ResumeError(ScrclError, RuntimeError):
    """An output folder holds another run, or a run that is still active."""


class TrainingError(ScrclError, ArithmeticError):
    """A value in training is not finite, or training cannot continue."""


class MissingDependencyError(ScrclError, ImportError):
    """An optional library is needed but not installed."""
