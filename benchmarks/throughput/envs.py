"""Steps a second of the environments, against NumPy's plain path and SB3's DummyVecEnv.

    python -m benchmarks.throughput.envs

The plain path computes every history anew at each step; it is what runs without Numba, and the
reference for rewards. All in one run and one thread, in turns; actions are random, sessions end and
begin as users leave. The clock counts the process's own seconds, so that a busy machine tilts the
figures less; those to quote are the ratios. A table, and the same as JSON in the last line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.vec_env import DummyVecEnv

import recsim_envs  # noqa: F401  (registers the ids)
from recsim_envs.compiled import can_compile
from recsim_envs.provenance import git_revision, versions
from recsim_envs.sb3 import BatchedVecEnv

NAMES = ("LFM", "Industry", "Coat")


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        lfm: data of LFM-v0, "replica" or a prepared name.
        industry: data of Industry-v0.
        coat: data of Coat-v0.
        users: sizes of the batches.
        steps: of one user a round; a batch takes as many steps of all its users together, but 20
            calls at least.
        rounds: each way takes its turn in each round; the median counts.
    """

    lfm: str = "replica"
    industry: str = "replica"
    coat: str = "replica"
    users: tuple[int, ...] = (1, 16, 64, 256)
    steps: int = 1000
    rounds: int = 5


def main(settings: Settings) -> None:
    """Times everything; prints a table and JSON."""
    data = {"LFM": settings.lfm, "Industry": settings.industry, "Coat": settings.coat}
    print(f"{settings}; revision {git_revision()}, numpy {versions()['numpy']}, numba {_numba()}")
    rows = []
    for name in NAMES:
        make = partial(gym.make, f"recsim/{name}-v0", data=data[name])
        make_vec = partial(gym.make_vec, f"recsim/{name}-v0", data=data[name])
        ways = {"compiled": single(make(), settings), "plain": single(plain(make()), settings)}
        rows += compare(name, "gym.make", 1, ways, settings)
        most = max(settings.users)
        ways = {
            "compiled": batch(make_vec(num_envs=most), settings),
            "plain": batch(plain(make_vec(num_envs=most)), settings),
        }
        rows += compare(name, "gym.make_vec", most, ways, settings)
        for n in settings.users:
            ways = {
                "BatchedVecEnv": sb3(BatchedVecEnv(make_vec(num_envs=n)), settings),
                "DummyVecEnv": sb3(DummyVecEnv([make] * n), settings),
            }
            rows += compare(name, "SB3", n, ways, settings)
    table = Table()
    for column in ("environment", "face", "users", "way", "steps/s, median", "ratio"):
        table.add_column(column, justify="left" if column in ("environment", "way") else "right")
    for row in rows:
        cells = (row["environment"], row["face"], row["users"], row["way"])
        table.add_row(*map(str, cells), f"{row['steps_per_s']:,.0f}", f"{row['ratio']:.2f}")
    Console().print(table)
    print(json.dumps({"revision": git_revision(), "versions": versions(), "rows": rows}))


def plain(env: Any) -> Any:
    """The environment on NumPy's steps."""
    env.unwrapped.simulator.fast = False
    return env


def single(env: Any, settings: Settings) -> Callable[[], float]:
    """What returns the steps a second of one user."""
    actions = np.random.default_rng(0).integers(env.action_space.n, size=settings.steps)
    env.reset(seed=0)

    def play() -> float:
        start = time.process_time()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions) / (time.process_time() - start)

    return play


def batch(env: Any, settings: Settings) -> Callable[[], float]:
    """What returns the steps a second of all users of a vector environment."""
    env.reset(seed=0)
    return _timed(env, env.num_envs, env.single_action_space.n, settings)


def sb3(env: Any, settings: Settings) -> Callable[[], float]:
    """What returns the steps a second of all users of an SB3 environment."""
    env.seed(0)
    env.reset()
    return _timed(env, env.num_envs, env.action_space.n, settings)


def compare(
    name: str, face: str, n: int, ways: dict[str, Callable[[], float]], settings: Settings
) -> list[dict[str, Any]]:
    """Medians of the ways in turns; the ratio is to the last way, of each round."""
    for play in ways.values():
        play()  # compiles
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(settings.rounds):
        for way, play in ways.items():
            found[way].append(play())
    reference = np.array(list(found.values())[-1])
    return [
        {
            "environment": name,
            "face": face,
            "users": n,
            "way": way,
            "steps_per_s": float(np.median(speeds)),
            "ratio": float(np.median(np.array(speeds) / reference)),
        }
        for way, speeds in found.items()
    ]


def _timed(env: Any, n: int, n_items: int, settings: Settings) -> Callable[[], float]:
    calls = max(20, settings.steps // n)
    actions = np.random.default_rng(0).integers(n_items, size=(calls, n))

    def play() -> float:
        start = time.process_time()
        for row in actions:
            env.step(row)
        return actions.size / (time.process_time() - start)

    return play


def _numba() -> str:
    return versions()["numba"] if can_compile() else "not used: both ways are the plain path"


if __name__ == "__main__":
    main(tyro.cli(Settings))
