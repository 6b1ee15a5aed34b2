"""Learning curves out of records: what the users got while an agent learned, and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Record
from benchmarks.tables import estimate

RECENT = 20
"""Sessions in a point of a training curve (section 5.4 of the paper)."""
GRID = 100
"""Points of a training curve."""
DRAWN = ("popularity", "nearest text, whole history", "best fixed list", "ialp")
"""What learns from no user and is drawn as a line; the oracle's would flatten the curves."""
MEASURES = {"Return": ("return", "reward"), "Length": ("length", "length")}
"""By axis, the measure's name among the sessions learned from and in a test."""


class Series(NamedTuple):
    """A curve over seeds; each (points,).

    Attributes:
        steps: recommendations so far.
        mean: over seeds.
        low: lower end of the 95% interval; NaN for one seed.
        high: its upper end.
    """

    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def training_curve(records: Sequence[Record], measure: str) -> Series | None:
    """Mean of the most recent sessions while learning; None of what learns from no user.

    Args:
        records: of one variant, a seed each.
        measure: "return" or "length".
    """
    runs = [r["episodes"] for r in records if len(r.get("episodes", {}).get("steps", [])) >= RECENT]
    if not runs:
        return None
    first = max(run["steps"][RECENT - 1] for run in runs)
    last = min(run["steps"][-1] for run in runs)
    if last <= first:
        return None
    grid = np.linspace(first, last, GRID)
    values = []
    for run in runs:
        total = np.cumsum([0.0, *run[measure]])
        recent = (total[RECENT:] - total[:-RECENT]) / RECENT  # (sessions - RECENT + 1,)
        ended = np.searchsorted(run["steps"][RECENT - 1 :], grid, side="right") - 1
        values.append(recent[ended])
    return over_seeds(grid, np.array(values))


def test_curve(records: Sequence[Record], measure: str) -> Series:
    """A test measure ("reward", "length", ...) along the training."""
    steps = [point["steps"] for point in records[0]["points"]]
    values = [[point[measure] for point in record["points"]] for record in records]
    # Two tests after the same step, as the last one and its curve's point, are one point.
    kept = [n for n, step in enumerate(steps) if step not in steps[n + 1 :]]
    return over_seeds(np.array(steps, dtype=float)[kept], np.array(values)[:, kept])


def over_seeds(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    """The curve of (seeds, points) values."""
    found = [estimate(column.tolist()) for column in values.T]
    return Series(
        steps,
        np.array([point.mean for point in found]),
        np.array([point.low for point in found]),
        np.array([point.high for point in found]),
    )
