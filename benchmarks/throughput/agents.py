"""How fast iALP and A-iALP learn, masks on, against SB3's DQN on the same encoder.

"DQN" is SB3's own network on the encoder, which leaves nothing out; "with masks" is
``DQN(SASRecQPolicy, env)``.

    python -m benchmarks.throughput.agents

All in one run, in turns; the figures to quote are the ratios. The users are a random number
generator, so that what is timed is the agents.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from stable_baselines3 import DQN
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from ialp_agents import AIALP, IALP, SASRecExtractor, SASRecQPolicy
from recsim_envs.provenance import git_revision, versions


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        n_items: catalogue size (the paper's LFM: 18,297).
        history: length of a session as the agents see it.
        embedding_dim: d of the encoder.
        batch_size: transitions a gradient step.
        users: users served at once.
        updates: gradient steps a round.
        rounds: each agent takes its turn in each round; the median counts.
        online_steps: of the whole trainings; 0 leaves them out.
        train_freq: environment calls between gradient steps of the whole trainings.
        threads: of PyTorch.
        device: "cpu" or "cuda".
    """

    n_items: int = 18_297
    history: int = 12
    embedding_dim: int = 64
    batch_size: int = 256
    users: int = 16
    updates: int = 5
    rounds: int = 7
    online_steps: int = 5_000
    train_freq: int = 1
    threads: int = 1
    device: str = "cpu"


class RandomUsers(gym.Env[Any, Any]):
    """Rewards at random and stays for ``history`` steps."""

    def __init__(self, n_items: int, history: int) -> None:
        self.observation_space = gym.spaces.Box(0, n_items, (history,), np.int32)
        self.action_space = gym.spaces.Discrete(n_items)
        self.n_items, self.length = n_items, history

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Starts a session of one random item."""
        super().reset(seed=seed)
        self.session = np.full(self.length, self.n_items, dtype=np.int32)
        self.session[-1] = self.np_random.integers(self.n_items)
        self.steps = 0
        return self.session.copy(), {}

    def step(self, action: Any) -> Any:
        """Appends the item."""
        self.session = np.append(self.session[1:], np.int32(action))
        self.steps += 1
        reward = float(self.np_random.random())
        return self.session.copy(), reward, False, self.steps == self.length, {"item": int(action)}


def main(settings: Settings) -> None:
    """Times everything and prints the ratios."""
    torch.set_num_threads(settings.threads)
    print(
        f"{settings}; {torch.get_num_threads()} thread(s), revision {git_revision()}, "
        f"torch {versions()['torch']}"
    )
    with tempfile.TemporaryDirectory() as folder:
        make_agent("IALP", settings).save_pretrained(folder)
        _report(settings, "one gradient step", "ms", time_updates(settings, Path(folder)))
        if settings.online_steps:
            title = f"a whole training of {settings.online_steps} steps"
            _report(settings, title, "s", time_trainings(settings, Path(folder)))


def time_updates(settings: Settings, pretrained: Path) -> dict[str, list[float]]:
    """Milliseconds of one gradient step, each (rounds,)."""
    warm_up = 2 * settings.batch_size
    agents: dict[str, OffPolicyAlgorithm] = {}
    for name in ("DQN", "DQN with masks", "IALP", "AIALP_ap, alpha < 1", "AIALP_ap, alpha = 1"):
        agent = make_agent(name.split(",")[0], settings, pretrained)
        agent.learning_starts = warm_up + settings.users  # fills the buffer, learns nothing yet
        agent.learn(warm_up)
        agent.set_logger(Logger(None, []))
        if "alpha" in name:
            agent.policy.alpha.fill_(0.5 if "<" in name else 1.0)
        agents[name] = agent

    def steps(agent: OffPolicyAlgorithm) -> float:
        start = time.perf_counter()
        agent.train(settings.updates, settings.batch_size)
        if settings.device == "cuda":
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start) / settings.updates

    for agent in agents.values():
        steps(agent)
    return _in_turns({n: partial(steps, agent) for n, agent in agents.items()}, settings.rounds)


def time_trainings(settings: Settings, pretrained: Path) -> dict[str, list[float]]:
    """Seconds of whole trainings with as many gradient steps each, a round of each."""

    def train(name: str) -> float:
        agent = make_agent(name, settings, pretrained)
        agent.learning_starts = 0
        start = time.perf_counter()
        agent.learn(settings.online_steps)
        return time.perf_counter() - start

    return _in_turns({name: partial(train, name) for name in ("DQN", "AIALP_ap", "AIALP_ft")}, 1)


def make_agent(name: str, settings: Settings, pretrained: Path | None = None) -> Any:
    """Makes "DQN", "IALP", "AIALP_ap" or "AIALP_ft" with the same encoder and budget."""
    encoder = {"embedding_dim": settings.embedding_dim}
    common: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "buffer_size": 20_000,
        "train_freq": settings.train_freq,
        "gradient_steps": 1,
        "seed": 0,
        "device": settings.device,
    }
    env = _users(settings)
    if name == "DQN":
        policy = {
            "features_extractor_class": SASRecExtractor,
            "features_extractor_kwargs": encoder,
            "net_arch": [],
        }
        return DQN("MlpPolicy", env, policy_kwargs=policy, **common)
    if name == "DQN with masks":
        policy = {"features_extractor_kwargs": encoder}
        return DQN(SASRecQPolicy, env, policy_kwargs=policy, **common)
    if name == "IALP":
        policy = {"features_extractor_kwargs": encoder}
        return IALP("SASRecPolicy", env, policy_kwargs=policy, **common)
    assert pretrained is not None
    return AIALP.from_pretrained(
        pretrained, env, scheme="ap" if name == "AIALP_ap" else "ft", **common
    )


def _users(settings: Settings) -> VecEnv:
    env = DummyVecEnv([lambda: RandomUsers(settings.n_items, settings.history)] * settings.users)
    env.seed(0)
    return env


def _in_turns(timers: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            found[name].append(timer())
    return found


def _report(settings: Settings, title: str, unit: str, found: dict[str, list[float]]) -> None:
    """Prints each agent's median and its ratio to DQN, round by round."""
    print(f"{title}: {settings.n_items:,} items, batch {settings.batch_size}")
    table = Table()
    for column in ("agent", f"{unit}, median", "ratio to DQN: median \\[min, max]"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for name, values in found.items():
        ratios = np.array(values) / np.array(found["DQN"])
        table.add_row(
            name,
            f"{np.median(values):.1f}",
            f"{np.median(ratios):.2f} \\[{ratios.min():.2f}, {ratios.max():.2f}]",
        )
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Settings))
