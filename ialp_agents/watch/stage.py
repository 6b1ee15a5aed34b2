"""Plays whole sessions of named policies with a chosen user, for the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from ialp_agents.aialp import AIALP
from ialp_agents.ialp import IALP
from ialp_agents.pg import PG
from ialp_agents.saving.zip import PlainZip, algorithm_in
from recsim_envs.envs import RecommenderEnv, RecommenderVectorEnv
from recsim_envs.play import Rules
from recsim_envs.render.session import Session
from recsim_envs.report.play import Act
from recsim_envs.report.policies import ORACLE, oracle_policy, random_policy, ranking_policy
from recsim_envs.sb3 import BatchedVecEnv
from recsim_envs.users.patience import Patience

TRAINED = "trained policy"
RANDOM = "random"
ALGORITHMS: dict[str, type[PlainZip]] = {"IALP": IALP, "AIALP": AIALP, "PG": PG}
MOST_SEED = 2**32 - 1


class Stage:
    """One user at a time, whom each policy meets anew.

    Args:
        title: says which users they are.
        users: one user.
        trained: an agent whose actions are single items; None leaves it out.
    """

    def __init__(
        self, title: str, users: RecommenderVectorEnv, trained: BaseAlgorithm | None
    ) -> None:
        rules = Rules.of(users.dataset)
        self.title = title
        self.simulator = users.simulator
        self.env = RecommenderEnv(users.simulator)
        self.players: dict[str, Callable[[int], Act]] = {
            RANDOM: lambda seed: random_policy(users, seed),
            "popularity": lambda _: ranking_policy(users, rules.popularity),
            "nearest text": lambda _: ranking_policy(users, rules.nearest),
            ORACLE: lambda _: oracle_policy(users),
        }
        if trained is not None:
            self.players[TRAINED] = lambda _: greedy(trained)
        self._lock = Lock()

    def about(self) -> dict[str, Any]:
        """What the page says and offers before a session."""
        dataset = self.env.dataset
        return {
            "title": self.title,
            "data": f"{dataset.name}, hash {dataset.hash}",
            "replica": dataset.replica,
            "players": list(self.players),
            "first": [RANDOM, TRAINED if TRAINED in self.players else ORACLE],
            "most_seed": MOST_SEED,
        }

    def session(self, player: str, seed: int) -> dict[str, Any]:
        """Plays a whole session.

        Args:
            player: one of :attr:`players`.
            seed: of the user, who is the same for all players, and of the random policy.

        Returns:
            What the page shows, in plain values; texts are as strangers wrote them.
        """
        # The server answers in threads, but there is one user.
        with self._lock:
            act = self.players[player](seed)
            self.env.reset(seed=seed)
            start, over = self.env.patience(), False
            while not over:
                _, _, left, capped, _ = self.env.step(act(self.simulator.observe())[0])
                over = left or capped
            return described(start, self.env.session())


def described(start: Patience, session: Session) -> dict[str, Any]:
    """A session as JSON has it."""
    return {
        "user": session.user,
        "before": session.before,
        "start": _patience(start),
        "steps": [
            {
                "text": step.text,
                "reward": step.reward,
                "accepted": step.accepted,
                "patience": _patience(step.patience),
            }
            for step in session.steps
        ],
        "left": session.left,
        "ending": session.ending,
    }


def load_policy(source: Path, users: RecommenderVectorEnv) -> BaseAlgorithm:
    """Reads a trained agent for users of single items; nothing in the file is run.

    Args:
        source: a folder that ``save_pretrained`` wrote, or a zip that ``save`` wrote.
        users: of the catalogue that it was trained for.

    Raises:
        FileNotFoundError: if there is no such file, or no policy in the folder.
        ValueError: for another catalogue, an unknown algorithm, or what is no such file.
    """
    env = BatchedVecEnv(users)
    if source.is_dir():
        return IALP.from_pretrained(source, env, device="cpu")
    name = algorithm_in(source)
    if name not in ALGORITHMS:
        raise ValueError(f"{source} holds a {name[:20]}: give one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name].load(source, env=env, device="cpu")


def greedy(agent: BaseAlgorithm) -> Act:
    """What the agent thinks best."""
    return lambda observation: agent.predict(observation, deterministic=True)[0]


def _patience(patience: Patience) -> dict[str, Any]:
    return {"text": str(patience), "share": patience.share}
