"""Figures with their intervals, and the sections of a report that they make up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.report.play import Sessions

RESAMPLES = 2000


class Figure(NamedTuple):
    """A number with its 95% interval.

    Attributes:
        value: the number.
        low: the interval's lower end; NaN where there is none.
        high: its upper end.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")


Cell = Figure | float | str | None
"""An entry of a table; None is left empty."""


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Attributes:
        name: as in the documentation.
        question: what its figures answer.
        rows: the table, a dict of cells by column each.
        warnings: what a reader must not overlook.
        not_applicable: why there are no rows, "" where there are.
    """

    name: str
    question: str
    rows: list[dict[str, Cell]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    not_applicable: str = ""


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95% bootstrap interval of the mean (BCa, scipy); (nan, nan) for fewer than two values."""
    if len(values) < 2 or np.ptp(values) == 0:
        return (float("nan"), float("nan")) if len(values) < 2 else (values[0], values[0])
    result = bootstrap(
        (np.asarray(values),), np.mean, n_resamples=RESAMPLES, rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def mean_of(values: NDArray[np.number] | BoolArray) -> Figure:
    """The mean of (n,) values and its bootstrap interval."""
    numbers = np.asarray(values, dtype=np.float64)
    return Figure(float(numbers.mean()), *interval(numbers.tolist()))


def ratio_of(above: NDArray[np.number], below: NDArray[np.number]) -> Figure:
    """A ratio of means, of (n,) values both; the interval comes from resampling the pairs."""

    def ratio(rows: IntArray) -> FloatArray:
        ratios: FloatArray = above[rows].sum(axis=-1) / below[rows].sum(axis=-1)
        return ratios

    return resampled(ratio, len(above))


def r_avg(sessions: Sessions) -> Figure:
    """The paper's R_avg, Return / Length."""
    return ratio_of(sessions.reward, sessions.length)


def resampled(
    statistic: Callable[[IntArray], FloatArray],
    n: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
    biased: bool = False,
) -> Figure:
    """A statistic of n observations and its bootstrap interval (percentiles).

    Args:
        statistic: maps row numbers (R, n) to (R,) values, one for each choice of rows.
        n: observations.
        resamples: how many choices of n rows are drawn, with replacement.
        seed: of the draws.
        biased: whether noise alone moves the statistic up or down, as it does a distance. The
            interval is then the value and 1.96 standard deviations of the resamples either side:
            their percentiles may lie all on one side of it.
    """
    value = float(statistic(np.arange(n)[None])[0])
    drawn = statistic(np.random.default_rng(seed).integers(n, size=(resamples, n)))
    if np.isnan(drawn).all():
        return Figure(value)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    if biased:
        low, high = value + np.array([-1.96, 1.96]) * np.nanstd(drawn)
    return Figure(value, float(low), float(high))
