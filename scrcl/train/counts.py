"""What methods that need counts check before they train."""

from __future__ import annotations

from typing import Any

from scrcl.errors import InputError

__all__ = ["require_counts", "require_exact_store"]


def require_counts(setting: str, instead: str, *, are_counts: bool, are_log: bool) -> None:
    """Refuse log values and fractions.

    Parameters
    ----------
    are_counts, are_log
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
    if are_counts and not are_log:
        return
    found = "log values" if are_log else "not whole numbers"
    message = f"{setting} must have counts; the values are {found}. Choose counts by `layer`, or set {instead}."
    raise InputError(message)


def require_exact_store(run: Any, setting: str, instead: str) -> None:
    """Refuse a feature store from which counts do not come back exactly.

    Parameters
    ----------
    run
        The settings of the run.
    setting, instead
        As for `require_counts`.

    Raises
    ------
    ValueError
        With the message for the user.
    """
    if run.features.dtype == "float32":
        return
    message = (
        f"features.dtype must be float32 with {setting}, which needs exact counts; got {run.features.dtype!r}. "
        f"Leave it out, or set {instead}."
    )
    raise ValueError(message)
