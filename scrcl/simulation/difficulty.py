"""How hard the types of a simulated atlas are to tell apart: lost counts, small differences, unequal sizes."""

from __future__ import annotations

from dataclasses import dataclass

from scrcl.errors import InputError

__all__ = ["Difficulty"]


@dataclass(frozen=True)
class Difficulty:
    """Three ways to make types harder to find.

    Attributes
    ----------
    dropout
        Share of the values above zero that are lost, whatever their gene and count.
    signal
        Factor of the log fold changes between invented types, and within them. Below 1, types are more alike.
    imbalance
        Orders of magnitude between the largest and the smallest invented type; 0: all have one size.
    """

    dropout: float = 0.0
    signal: float = 1.0
    imbalance: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            message = (
                f"dropout must be at least 0 and below 1; got {self.dropout}. Choose the share of the values that are "
                "lost."
            )
            raise InputError(message)
        if not 0 < self.signal <= _MOST:
            message = f"signal must be above 0 and at most {_MOST:g}; got {self.signal}. Choose 1 for no change."
            raise InputError(message)
        if not 0 <= self.imbalance <= _MOST:
            message = f"imbalance must be from 0 to {_MOST:g}; got {self.imbalance}. Choose 0 for types of one size."
            raise InputError(message)


_MOST = 10.0
