"""What methods that need counts check before they train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.prep.stats import MatrixStats

__all__ = ["require_counts"]


def require_counts(stats: MatrixStats, setting: str, instead: str) -> None:
    """Refuse log values and fractions.

    Parameters
    ----------
    stats
        What the values were found to be.
    setting
        What needs counts: a setting of a method with its value.
    instead
        The assignment that does without them.

    Raises
    ------
    InputError
        The values are no counts.
    """
    if stats.is_counts and not stats.already_log:
        return
    found = "log values" if stats.already_log else "not whole numbers"
    message = f"{setting} must have counts; the values are {found}. Choose counts by `layer`, or set {instead}."
    raise InputError(message)
