"""Every error that scrcl raises on purpose.

A message reads ``<name> must <rule>; got <value>. <what to do>``. Each class also inherits its
standard-library kin, so that code which knows nothing of scrcl still catches it sensibly.
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
    """Root of the tree: the command line turns any of these into one line and exit code 2."""


class InputError(ScrclError, ValueError):
    """An argument, option or value in the data breaks a rule."""


class StoreError(ScrclError, OSError):
    """A file is missing, damaged, of an unknown kind, or cannot be written."""


class BudgetError(ScrclError, MemoryError):
    """The work cannot be done within the memory given."""


class ResumeError(ScrclError, RuntimeError):
    """An output folder holds another run, or one that is still at work."""


class TrainingError(ScrclError, ArithmeticError):
    """Training met a value that is not finite, or cannot go on."""


class MissingDependencyError(ScrclError, ImportError):
    """An optional library that this path needs is not installed."""
