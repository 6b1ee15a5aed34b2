"""The same small search for every online agent, on training users of one data set.

    python -m benchmarks.search --env recsim/Industry-v0 --data my-shop

Each setting of :data:`GRID` trains on users of ``split="train"`` and is played, greedily, with
other users of the same split: the test split is not touched. The best by mean Return stands,
frozen, in ``benchmarks.agents.SEARCHED`` and serves every data set. A cell is one JSON record and
is not computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.base_class import BaseAlgorithm

from benchmarks.agents import (
    FROM_A_POLICY,
    FROM_SCRATCH,
    AgentStart,
    features_of,
    make_from_policy,
    make_from_scratch,
    make_ialp,
)
from benchmarks.cells import record_of, run_all
from benchmarks.curve import evaluate
from benchmarks.records import Record, data_label
from recsim_envs.report.play import make_users
from recsim_envs.sb3 import BatchedVecEnv

GRID: dict[str, dict[str, tuple[Any, ...]]] = {
    "DQN": {
        "learning_rate": (1e-4, 1e-3),
        "n_steps": (1, 3),
        "target_update_interval": (25, 500),
        "update_factor": (1, 2),
    },
    "PG": {
        "learning_rate": (1e-4, 1e-3, 3e-3),
        "ent_coef": (0.0, 0.01),
        "n_steps": (4, 16),
    },
    "A2C": {
        "learning_rate": (1e-4, 7e-4, 3e-3),
        "ent_coef": (0.0, 0.01),
        "n_steps": (4, 16),
    },
    "A-iALP_ft": {
        "learning_rate": (1e-4, 3e-4, 1e-3),
        "tau": (0.005, 0.05),
        "update_factor": (1, 2),
    },
    "A-iALP_ap": {
        "learning_rate": (1e-4, 3e-4, 1e-3),
        "tau": (0.005, 0.05),
        "update_factor": (1, 2),
    },
}
"""What is tried, in all combinations; ``update_factor`` multiplies the settings' gradient steps."""


@dataclass(frozen=True)
class Settings:
    """One search.

    Attributes:
        env: recsim/LFM-v0, recsim/Industry-v0 or recsim/Coat-v0.
        data: "replica" or a name given to `recsim prepare`.
        online_steps: recommendations to users of the training split.
        updates_per_step: gradient steps for each of them, times a setting's ``update_factor``.
        users: users that an agent serves at once.
        sessions: sessions of each result, with other users of the training split.
        seeds: number of seeds, from 100 on (the comparison's begin at 0).
        workers: processes.
        output: folder of the records.
    """

    env: str = "recsim/Industry-v0"
    data: str = "replica"
    online_steps: int = 4_000
    updates_per_step: float = 0.125
    users: int = 16
    sessions: int = 250
    seeds: int = 1
    workers: int = 2
    output: Path = Path("runs/search")


def settings_of(name: str) -> Iterator[dict[str, Any]]:
    """All combinations of an agent's grid."""
    grid = GRID[name]
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def main(settings: Settings) -> None:
    """Runs or resumes the search, and prints each agent's settings, best first."""
    agents: list[tuple[str, AgentStart]] = [("A-iALP_ft", "text"), ("A-iALP_ap", "text")]
    agents += [(name, start) for name in FROM_SCRATCH for start in ("random", "text")]
    seeds = range(100, 100 + settings.seeds)
    cells = [
        (settings, name, start, tried, seed)
        for name, start in agents
        for tried in settings_of(name)
        for seed in seeds
    ]
    records = run_all(search_cell, cells, settings.workers)
    dataset = make_users(settings.env, 1, data=settings.data).dataset
    print(f"{settings.env}, {data_label(dataset)}, training users, {settings.online_steps} steps")
    rows = [row for record in records for row in record["rows"]]
    for name, start in agents:
        mine = [row for row in rows if (row["agent"], row["start"]) == (name, start)]
        print_settings(f"{name}, start {start}", mine)


def search_cell(
    settings: Settings, name: str, start: AgentStart, tried: dict[str, Any], seed: int
) -> Record:
    """Trains one setting of one agent and plays it with other training users."""

    def compute() -> list[Record]:
        users = make_users(settings.env, settings.users, data=settings.data, split="train")
        env = BatchedVecEnv(users)
        updates = max(1, round(settings.users * settings.updates_per_step))
        features = features_of(settings.env, settings.data, start)
        model: BaseAlgorithm
        if name in FROM_A_POLICY:
            start_policy = make_ialp(env, features, 1, seed)
            model = make_from_policy(name, start_policy, env, updates, seed, **tried)
        else:
            model = make_from_scratch(name, env, features, updates, seed, **tried)
        model.learn(settings.online_steps)
        others = make_users(settings.env, settings.sessions, data=settings.data, split="train")
        played = evaluate(model, others, seed, deterministic=True)
        row = {"agent": name, "start": start, "tried": tried, "seed": seed}
        return [row | {"reward": float(played.reward.mean())}]

    budget = ("online_steps", "updates_per_step", "users", "sessions")
    what = {key: asdict(settings)[key] for key in budget}
    what |= {"agent": name, "start": start, "tried": tried}
    slug = "_".join(f"{key}-{value}" for key, value in tried.items())
    folder = settings.output / f"{settings.env.split('/')[-1]}_{settings.data}"
    file = folder / f"{name}_{start}_{slug}_seed{seed}.json"
    return record_of(file, what, settings.env, settings.data, compute)


def print_settings(title: str, rows: list[Record], console: Console | None = None) -> None:
    """Prints one agent's settings by mean Return over seeds, best first."""
    table = Table(title=title)
    names = list(rows[0]["tried"])
    for column in (*names, "Return"):
        table.add_column(column, justify="right")
    found: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        found.setdefault(tuple(row["tried"].values()), []).append(row["reward"])
    for tried, returns in sorted(found.items(), key=lambda item: -float(np.mean(item[1]))):
        table.add_row(*(str(value) for value in tried), f"{np.mean(returns):.1f}")
    (console or Console(width=100)).print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings))
