"""What a cell of a comparison records: results with intervals, and what they were made with."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import bootstrap

from benchmarks.evaluation import Sessions
from recsim_envs.data.dataset import Dataset

Record = dict[str, Any]


def data_label(dataset: Dataset) -> str:
    """Names the data in a title: a replica is called one, and the hash says which."""
    kind = "REPLICA (synthetic data)" if dataset.replica else f"{dataset.name} (real data)"
    return f"{kind} {dataset.hash}"


def row_of(
    agent: str,
    seed: int,
    *,
    e0: Sessions | None = None,
    online: Sessions | None = None,
    reference: Sessions | None = None,
    curve: list[dict[str, float]] | None = None,
) -> Record:
    """Records an agent's sessions before (e = 0) and after learning online, or a reference's."""
    results = {"e = 0": e0, "online": online, "reference": reference}
    return {
        "agent": agent,
        "seed": seed,
        "results": {when: s and _summary(s) for when, s in results.items()},
        "curve": curve or [],
    }


def _summary(sessions: Sessions) -> Record:
    per_session = {
        "reward": sessions.reward,
        "length": sessions.length,
        "distinct": sessions.distinct,
    }
    summary: Record = {
        name: {"mean": float(values.mean()), "interval": interval(values.tolist())}
        for name, values in per_session.items()
    }
    # A ratio of means: its interval comes from resampling whole sessions.
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(sessions.length), size=(2000, len(sessions.length)))
    ratios = sessions.reward[drawn].sum(axis=1) / sessions.length[drawn].sum(axis=1)
    summary["average_reward"] = {
        "mean": sessions.average_reward,
        "interval": np.percentile(ratios, [2.5, 97.5]).tolist(),
    }
    summary["n_sessions"] = len(sessions.length)
    return summary


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95% bootstrap interval of the mean (BCa, scipy); (nan, nan) for fewer than two values."""
    if len(values) < 2 or np.ptp(values) == 0:
        return (float("nan"), float("nan")) if len(values) < 2 else (values[0], values[0])
    result = bootstrap((np.asarray(values),), np.mean, rng=np.random.default_rng(seed))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
