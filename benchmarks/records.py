"""What a cell of a comparison records: results with intervals, and what they were made with."""

from __future__ import annotations

from typing import Any

from recsim_envs.data.dataset import Dataset
from recsim_envs.report.figures import interval, r_avg
from recsim_envs.report.play import Sessions

Record = dict[str, Any]


def data_label(dataset: Dataset) -> str:
    """Names the data in a title: a replica is called one, and the hash says which."""
    kind = "REPLICA (synthetic data)" if dataset.replica else f"{dataset.name} (real data)"
    return f"{kind} {dataset.hash}"


def revisions(records: list[Record]) -> str:
    """Says of which revisions of the code some records are."""
    found = sorted({str(record["revision"]) for record in records})
    return f"revision {', '.join(found)}"


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
    average, *ends = r_avg(sessions)
    summary["average_reward"] = {"mean": average, "interval": ends}
    summary["n_sessions"] = len(sessions.length)
    return summary
