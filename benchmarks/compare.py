"""The paper's comparison: pre-train with a judge, go online, compare with agents from scratch.

    python -m benchmarks.compare --env recsim/Industry-v0

pre-trains iALP with the judge on ``split="train"`` (nobody leaves, no user's reward is seen), lets
DQN, PG, A2C and both A-iALP agents learn online from the users of ``split="train"``, and plays each
of them on ``split="test"`` before (e = 0) and after. Every cell (agent x seed) is one JSON record;
a cell whose record exists with the same settings is not computed again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.agents import ONLINE_AGENTS, make_ialp, make_online_agent
from benchmarks.cells import record_of, run_all
from benchmarks.curve import TestCurve, evaluate
from benchmarks.records import Record, data_label, row_of
from benchmarks.report import plot_curves, print_table
from ialp_agents import IALP
from llm_oracle import LLMOracleVectorEnv
from llm_oracle.build import build_judge
from recsim_envs.data.text import text_features
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.lists import TRAINING_USERS, fixed_lists
from recsim_envs.report.play import make_users, play
from recsim_envs.report.policies import reference_policies, reference_scorers
from recsim_envs.sb3 import BatchedVecEnv

CURVE_POINTS = 10


@dataclass(frozen=True)
class Settings:
    """One comparison; the defaults are the demo's budget, minutes on two cores.

    Attributes:
        env: recsim/LFM-v0, recsim/Industry-v0 or recsim/Coat-v0.
        data: "replica" or a name given to `recsim prepare`.
        judge: "smollm2" (the embedded language model), "tfidf", "popularity", or another that
            `llm_oracle.build.build_judge` knows.
        cache: file of the language model's verdicts; a second run of the same asks it nothing.
        k: candidates a verdict (the paper: 10).
        verdicts: judge calls for pre-training.
        updates_per_verdict: gradient steps of the pre-training for each verdict.
        online_steps: recommendations to users of the training split, for each agent.
        updates_per_step: gradient steps for each online recommendation (replay agents).
        users: users that an agent serves at once.
        sessions: test sessions of a final result.
        stochastic: play the test sessions with the agents' random policies instead of the greedy.
        seeds: number of seeds, from 0 on.
        workers: processes that train agents.
        output: folder of the records, curves and policies.
    """

    env: str = "recsim/Industry-v0"
    data: str = "replica"
    judge: str = "smollm2"
    cache: Path = Path("runs/verdicts.sqlite")
    k: int = 10
    verdicts: int = 320
    updates_per_verdict: float = 1.0
    online_steps: int = 4_000
    updates_per_step: float = 0.125
    users: int = 16
    sessions: int = 1000
    stochastic: bool = False
    seeds: int = 1
    workers: int = 2
    output: Path = Path("runs/compare")

    @property
    def folder(self) -> Path:
        """Where this environment and data set's records go."""
        return self.output / f"{self.env.split('/')[-1]}_{self.data}"


def main(settings: Settings) -> None:
    """Runs or resumes the comparison and reports it."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    dataset = make_users(settings.env, 1, data=settings.data).dataset
    print(dataset)
    seeds = range(settings.seeds)
    records = {("iALP", seed): run_cell(settings, "iALP", seed) for seed in seeds}
    cells = [(agent, seed) for seed in seeds for agent in ("references", *ONLINE_AGENTS)]
    done = run_all(run_cell, [(settings, *cell) for cell in cells], settings.workers)
    records |= dict(zip(cells, done, strict=True))
    order = ("references", *ONLINE_AGENTS[:3], "iALP", *ONLINE_AGENTS[3:])
    rows = [row for agent in order for seed in seeds for row in records[agent, seed]["rows"]]
    title = f"{settings.env}, {data_label(dataset)}, judge {settings.judge}, test split"
    print_table(rows, title)
    curves = settings.folder / "curves.png"
    plot_curves(rows, title, curves)
    print(f"records and curves in {settings.folder}")


def run_cell(settings: Settings, agent: str, seed: int) -> Record:
    """Computes one cell and writes its record, unless it is there already."""

    def compute() -> list[Record]:
        if agent == "references":
            return play_references(settings, seed)
        return [
            pretrain(settings, seed) if agent == "iALP" else learn_online(settings, agent, seed)
        ]

    file = settings.folder / f"{agent}_seed{seed}.json"
    return record_of(file, _what_counts(settings), settings.env, settings.data, compute)


def pretrain(settings: Settings, seed: int) -> Record:
    """Pre-trains iALP with the judge (Algorithm 1) and saves the policy.

    The users of this environment never leave: a departure would tell the agent something of the
    users' rewards, and this is the phase without users.
    """
    users = make_users(
        settings.env, settings.users, data=settings.data, split="train", leaves=False
    )
    # Nothing else runs during pre-training: the language model may have all the cores.
    torch.set_num_threads(settings.workers)
    judge = build_judge(settings.judge, users.dataset, cache=settings.cache, seed=seed)
    env = BatchedVecEnv(LLMOracleVectorEnv(users, judge, k=settings.k))
    updates = max(1, round(settings.users * settings.updates_per_verdict))
    model = make_ialp(env, text_features(users.dataset), updates, seed)
    model.learn(settings.verdicts, progress_bar=True)
    model.save_pretrained(pretrained_folder(settings, seed))
    env.close()
    # The weights move from slates to single items, as for a user of from_pretrained.
    customers = BatchedVecEnv(users_of_test_split(settings, 1))
    policy = IALP.from_pretrained(pretrained_folder(settings, seed), customers, device="cpu")
    tested = users_of_test_split(settings, settings.sessions)
    e0 = evaluate(policy, tested, seed, deterministic=not settings.stochastic)
    row = row_of("iALP", seed, e0=e0)
    # The judge's own measure, in its own units: verdicts that named an item, not rewards of users.
    buffer = model.replay_buffer
    assert buffer is not None
    row["judge_pick_rate"] = float(buffer.rewards[: buffer.pos].mean())
    row["judge"] = judge.name
    return row


def learn_online(settings: Settings, agent: str, seed: int) -> Record:
    """Lets one agent learn from the users of the training split."""
    users = make_users(settings.env, settings.users, data=settings.data, split="train")
    env = BatchedVecEnv(users)
    updates = max(1, round(settings.users * settings.updates_per_step))
    model = make_online_agent(
        agent,
        env,
        text_features(users.dataset),
        pretrained_folder(settings, seed),
        updates,
        seed,
    )
    greedy = not settings.stochastic
    curve = TestCurve(
        users_of_test_split(settings, max(100, settings.sessions // 4)),
        [settings.online_steps * point / CURVE_POINTS for point in range(1, CURVE_POINTS + 1)],
        seed,
        greedy,
    )
    tested = users_of_test_split(settings, settings.sessions)
    before = evaluate(model, tested, seed, greedy)
    model.learn(settings.online_steps, callback=curve)
    after = evaluate(model, tested, seed, greedy)
    first = {"steps": 0, "reward": float(before.reward.mean())}
    return row_of(agent, seed, e0=before, online=after, curve=[first, *curve.points])


def play_references(settings: Settings, seed: int) -> list[Record]:
    """Plays the reference policies on the test split."""
    rows = []
    training = make_users(settings.env, TRAINING_USERS, data=settings.data, split="train")
    lists = fixed_lists(training, 10_000 + seed)
    scorers = reference_scorers(training.dataset)
    # The oracle scores the whole catalogue for each user: fewer of them keep it in memory.
    users = users_of_test_split(settings, min(settings.sessions, 500))
    policies = reference_policies(users, seed, lists=lists, scorers=scorers)
    for name, act in policies.items():
        rows.append(row_of(name, seed, reference=play(users, act, seed=10_000 + seed)))
    return rows


def users_of_test_split(settings: Settings, n: int) -> RecommenderVectorEnv:
    """Makes n users of the test split."""
    return make_users(settings.env, n, data=settings.data, split="test")


def pretrained_folder(settings: Settings, seed: int) -> Path:
    """Where the pre-trained policy of a seed is kept."""
    return settings.folder / f"iALP_seed{seed}"


def _what_counts(settings: Settings) -> dict[str, Any]:
    """The settings that decide a cell's result."""
    free = ("seeds", "workers", "output", "cache")
    return {key: value for key, value in asdict(settings).items() if key not in free}


if __name__ == "__main__":
    main(tyro.cli(Settings))
