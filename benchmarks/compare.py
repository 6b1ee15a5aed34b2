"""The paper's comparison: pre-train with a judge, go online, compare with agents without one.

    python -m benchmarks.compare --env recsim/Industry-v0

pre-trains iALP with the judge on ``split="train"`` (nobody leaves, no user's reward is seen), lets
the agents of :func:`agents_of` learn online from the users of ``split="train"``, and plays each of
them on ``split="test"`` before (e = 0) and after. DQN, PG and A2C stand there twice, from random
and from the text start, and A-iALP twice, from the judge's policy and from the same start without
a verdict: so one sees what the judge adds to a start that costs nothing. Every cell (agent x seed)
is one JSON record; a cell whose record exists with the same settings is not computed again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from stable_baselines3.common.base_class import BaseAlgorithm

from benchmarks.agents import (
    FROM_A_POLICY,
    FROM_SCRATCH,
    AgentStart,
    features_of,
    make_from_policy,
    make_from_scratch,
    make_ialp,
    searched,
)
from benchmarks.cells import record_of, run_all
from benchmarks.curve import TestCurve, evaluate
from benchmarks.records import Record, data_label, revisions, row_of
from benchmarks.report import plot_curves, print_table
from ialp_agents import IALP
from llm_oracle import LLMOracleVectorEnv
from llm_oracle.build import build_judge
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.lists import TRAINING_USERS, fixed_lists
from recsim_envs.report.play import make_users, play
from recsim_envs.report.policies import reference_policies, reference_scorers
from recsim_envs.sb3 import BatchedVecEnv

CURVE_POINTS = 5
BEST_START: dict[str, AgentStart] = {
    "recsim/LFM-v0": "text",
    "recsim/Industry-v0": "text",
    "recsim/Coat-v0": "random",
}
"""Where an agent best starts: Coat's users leave at items that are alike."""


@dataclass(frozen=True)
class Agent:
    """An agent that learns online.

    Attributes:
        name: of the algorithm, one of those in ``benchmarks.agents``.
        start: "judge" takes what the judge taught; else see ``AgentStart``.
    """

    name: str
    start: Literal["judge", "text", "random"]

    @property
    def label(self) -> str:
        """In tables and file names."""
        if self.start == "judge" or (self.name in FROM_SCRATCH and self.start == "random"):
            return self.name
        if self.name in FROM_A_POLICY:
            return f"{self.name}, no verdicts"
        return f"{self.name}, {self.start} start"


def agents_of(start: AgentStart) -> list[Agent]:
    """The agents of a comparison in which pre-training begins at ``start``."""
    starts: tuple[AgentStart, ...] = ("random", "text") if start == "text" else ("random",)
    agents = [Agent(name, own) for own in starts for name in FROM_SCRATCH]
    agents += [Agent(name, start) for name in FROM_A_POLICY]
    return agents + [Agent(name, "judge") for name in FROM_A_POLICY]


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
        start: where iALP's pre-training begins: "text", "random", or "best": text, but random on
            Coat, whose users leave at items that are alike.
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
    start: Literal["best", "text", "random"] = "best"
    updates_per_verdict: float = 0.0625
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
        return self.output / f"{self.env.split('/')[-1]}_{self.data}_{self.judge.replace('/', '_')}"

    @property
    def ialp_start(self) -> AgentStart:
        """Where the pre-training begins."""
        return BEST_START[self.env] if self.start == "best" else self.start


def main(settings: Settings) -> None:
    """Runs or resumes the comparison and reports it."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    dataset = make_users(settings.env, 1, data=settings.data).dataset
    print(dataset)
    seeds = range(settings.seeds)
    records = {("iALP", seed): run_cell(settings, "iALP", seed) for seed in seeds}
    agents = {agent.label: agent for agent in agents_of(settings.ialp_start)}
    cells = [(name, seed) for seed in seeds for name in ("references", *agents)]
    jobs = [(settings, agents.get(name, name), seed) for name, seed in cells]
    records |= dict(zip(cells, run_all(run_cell, jobs, settings.workers), strict=True))
    from_scratch = [label for label, agent in agents.items() if agent.name in FROM_SCRATCH]
    order = ("references", *from_scratch, "iALP")
    order += tuple(label for label in agents if label not in from_scratch)
    rows = [row for name in order for seed in seeds for row in records[name, seed]["rows"]]
    title = f"{settings.env}, {data_label(dataset)}, judge {settings.judge}, test split"
    print_table(rows, title, revisions(list(records.values())))
    curves = settings.folder / "curves.png"
    plot_curves(rows, title, curves)
    print(f"records and curves in {settings.folder}")


def run_cell(settings: Settings, agent: Agent | str, seed: int) -> Record:
    """Computes one cell and writes its record, unless it is there already.

    Args:
        settings: of the comparison.
        agent: one that learns online, or "iALP" or "references".
        seed: of the agent.
    """
    label = agent.label if isinstance(agent, Agent) else agent

    def compute() -> list[Record]:
        if isinstance(agent, Agent):
            return [learn_online(settings, agent, seed)]
        return [pretrain(settings, seed)] if agent == "iALP" else play_references(settings, seed)

    what = _what_counts(settings)
    if isinstance(agent, Agent):
        what["arguments"] = searched(agent.name, agent.start)
    file = settings.folder / f"{label.replace(', ', '_').replace(' ', '-')}_seed{seed}.json"
    return record_of(file, what, settings.env, settings.data, compute)


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
    features = features_of(settings.env, settings.data, settings.ialp_start)
    model = make_ialp(env, features, updates, seed)
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


def learn_online(settings: Settings, agent: Agent, seed: int) -> Record:
    """Lets one agent learn from the users of the training split."""
    users = make_users(settings.env, settings.users, data=settings.data, split="train")
    env = BatchedVecEnv(users)
    updates = max(1, round(settings.users * settings.updates_per_step))
    features = features_of(settings.env, settings.data, agent.start)
    model: BaseAlgorithm
    if agent.name in FROM_SCRATCH:
        model = make_from_scratch(agent.name, env, features, updates, seed)
    elif agent.start == "judge":
        folder = pretrained_folder(settings, seed)
        model = make_from_policy(agent.name, folder, env, updates, seed)
    else:
        untaught = make_ialp(env, features, updates, seed)
        model = make_from_policy(agent.name, untaught, env, updates, seed)
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
    return row_of(agent.label, seed, e0=before, online=after, curve=[first, *curve.points])


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
