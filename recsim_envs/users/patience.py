"""What decides when a user leaves, as one number and its limit."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Patience:
    """How far a user is from leaving: the user leaves when ``value`` is below ``leaves_below``.

    Attributes:
        name: what the value measures.
        value: now; infinite where nothing can bore the user yet.
        leaves_below: the limit.
        full: the value that counts as all of it.
    """

    name: str
    value: float
    leaves_below: float
    full: float

    @property
    def share(self) -> float:
        """What is left of the way from ``full`` to the limit, from 0 (the user leaves) to 1."""
        if self.value < self.leaves_below:
            return 0.0
        if self.value >= self.full:
            return 1.0
        return (self.value - self.leaves_below) / (self.full - self.leaves_below)

    def __str__(self) -> str:
        """One line: the value and the limit."""
        return f"{self.name} {self.number}, leaves below {self.leaves_below:g}"

    @property
    def number(self) -> str:
        """The value alone."""
        return f"{self.value:.2f}" if isfinite(self.value) else "infinite"
