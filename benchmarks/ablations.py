"""Which of the choices matter: one change at a time, over several seeds.

    python -m benchmarks.ablations pretraining --env recsim/Industry-v0 --data my-shop
    python -m benchmarks.ablations online --env recsim/Industry-v0 --data my-shop

`pretraining` measures iALP's Return on the test split before any user is met (e = 0) against the
number of verdicts; each variant changes what its name says in the first row, which has IALP's
defaults and the text start. `online` starts from the first row's policies and measures the Return
of the sessions that the agents learn from and, after them, on the test split. Seeds are shared, so
differences to the first row are paired. A cell (variant x seed) is one JSON record and is not
computed twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.agents import (
    FROM_SCRATCH,
    AgentStart,
    features_of,
    make_from_policy,
    make_from_scratch,
    make_ialp,
    searched,
)
from benchmarks.cells import record_of, run_all
from benchmarks.compare import BEST_START
from benchmarks.curve import TestCurve
from benchmarks.records import Record, data_label, revisions
from benchmarks.report import plot_variants, print_variants
from llm_oracle import LLMOracleVectorEnv
from llm_oracle.build import build_judge
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.play import make_users
from recsim_envs.sb3 import BatchedVecEnv

DEFAULT = "default"
"""The first row; the online study starts from its policies."""


@dataclass(frozen=True)
class Pretraining:
    """A variant of the pre-training.

    Attributes:
        ialp: arguments of IALP that differ from the first row.
        policy: arguments of its policy that do.
        start: where it begins; None is the environment's best.
        updates: gradient steps a verdict, relative to the settings'.
    """

    ialp: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    start: AgentStart | None = None
    updates: float = 1.0


FROM_RANDOM = {"learning_rate": 3e-3}
"""A start that knows nothing needs larger steps, and more of them (x 4)."""
PRETRAINING = {
    DEFAULT: Pretraining(),
    "slate_coef=1 (candidates not chosen teach too)": Pretraining({"slate_coef": 1.0}),
    'advantage="td" (Eq. 9 as printed)': Pretraining({"advantage": "td"}),
    'advantage="none"': Pretraining({"advantage": "none"}),
    'candidates="topk"': Pretraining({"candidates": "topk"}),
    "learning_rate=1e-3": Pretraining({"learning_rate": 1e-3}),
    "updates x 4": Pretraining(updates=4.0),
    "mask_history=False": Pretraining(policy={"mask_history": False}),
    "text start": Pretraining(start="text"),
    "random start": Pretraining(FROM_RANDOM, start="random", updates=4.0),
    "random start, slate_coef=1": Pretraining(
        FROM_RANDOM | {"slate_coef": 1.0}, start="random", updates=4.0
    ),
    "random start, own vectors (the paper's form)": Pretraining(
        FROM_RANDOM, {"tie_weights": False}, start="random", updates=4.0
    ),
}

ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    "ap": ("A-iALP_ap", {}),
    "ft": ("A-iALP_ft", {}),
    'ap, beta_init="random" (section 5.4)': ("A-iALP_ap", {"beta_init": "random"}),
    "ap, alpha_fraction=1": ("A-iALP_ap", {"alpha_fraction": 1.0}),
    'ap, alpha_schedule="step"': ("A-iALP_ap", {"alpha_schedule": "step"}),
    'ap, advantage="td" (Eqs. 13/15 as printed)': ("A-iALP_ap", {"advantage": "td"}),
    'ft, advantage="td" (Eq. 13 as printed)': ("A-iALP_ft", {"advantage": "td"}),
    'ap, exploration="epsilon"': ("A-iALP_ap", {"exploration": "epsilon"}),
    'ap, exploration="greedy"': ("A-iALP_ap", {"exploration": "greedy"}),
    "LLMOnline (RQ3)": ("LLMOnline", {}),
    "A2C, categorical (RQ4)": ("A2C", {}),
    "A2C, epsilon (RQ4)": ("A2C", {"exploration": "epsilon"}),
    "A2C, greedy (RQ4)": ("A2C", {"exploration": "greedy"}),
}
"""The agents' names, and what differs: arguments of A-iALP, or of A2C's policy."""


@dataclass(frozen=True)
class Settings:
    """One study on one environment.

    Attributes:
        study: pretraining or online.
        env: recsim/LFM-v0, recsim/Industry-v0 or recsim/Coat-v0.
        data: "replica" or a name given to `recsim prepare`.
        judge: a name that `llm_oracle.build.build_judge` knows.
        cache: file of a language model's verdicts.
        k: candidates a verdict (the paper: 10).
        verdicts: at which numbers of verdicts a policy is tested; the last ends the pre-training.
        updates_per_verdict: gradient steps for each verdict.
        online_steps: recommendations to users of the training split.
        updates_per_step: gradient steps for each of them.
        users: users that an agent serves at once.
        sessions: test sessions of each result.
        stochastic: play them with the random policies instead of the greedy ones. For Coat, whose
            users leave a greedy policy that knows two favourite coats at its third step.
        seeds: number of seeds, from 0 on.
        only: parts of the variants' names to run, the first row always; empty runs all.
        workers: processes.
        output: folder of the records and figures.
    """

    study: tyro.conf.Positional[Literal["pretraining", "online"]]
    env: str = "recsim/Industry-v0"
    data: str = "replica"
    judge: str = "tfidf"
    cache: Path = Path("runs/verdicts.sqlite")
    k: int = 10
    verdicts: tuple[int, ...] = (256, 512, 1024)
    updates_per_verdict: float = 0.0625
    online_steps: int = 1_280
    updates_per_step: float = 0.125
    users: int = 16
    sessions: int = 250
    stochastic: bool = False
    seeds: int = 5
    only: tuple[str, ...] = ()
    workers: int = 2
    output: Path = Path("runs/ablations")

    @property
    def folder(self) -> Path:
        """Where this environment and data set's records go."""
        return self.output / f"{self.env.split('/')[-1]}_{self.data}"


def main(settings: Settings) -> None:
    """Runs or resumes the study and reports it."""
    seeds = range(settings.seeds)
    cell: Callable[[Settings, str, int], Record] = pretraining_cell
    best = Pretraining(start=BEST_START[settings.env])
    variants = [name for name in PRETRAINING if PRETRAINING[name] != best]
    if settings.study == "online":
        run_all(cell, [(settings, DEFAULT, seed) for seed in seeds], settings.workers)
        cell, variants = online_cell, list(ONLINE)
    if settings.only:
        wanted = [name for name in variants[1:] if any(part in name for part in settings.only)]
        variants = [variants[0], *wanted]
    cells = [(settings, name, seed) for seed in seeds for name in variants]
    records = run_all(cell, cells, settings.workers)
    rows = [row for record in records for row in record["rows"]]
    dataset = make_users(settings.env, 1, data=settings.data).dataset
    title = f"{settings.env}, {data_label(dataset)}, judge {settings.judge}, {settings.study}"
    title += ", random play" if settings.stochastic else ", greedy play"
    print_variants(rows, title, revisions(records))
    figure = settings.folder / f"{settings.study}.png"
    plot_variants(rows, title, figure)
    print(f"records and figure in {settings.folder}")


def pretraining_cell(settings: Settings, name: str, seed: int) -> Record:
    """Pre-trains one variant with the judge and tests it at each number of verdicts."""
    variant = PRETRAINING[name]

    def compute() -> list[Record]:
        users = users_of(settings, settings.users, split="train", leaves=False)
        judge = build_judge(settings.judge, users.dataset, cache=settings.cache, seed=seed)
        env = BatchedVecEnv(LLMOracleVectorEnv(users, judge, k=settings.k))
        updates = max(1, round(settings.users * settings.updates_per_verdict * variant.updates))
        start = variant.start or BEST_START[settings.env]
        features = features_of(settings.env, settings.data, start)
        model = make_ialp(env, features, updates, seed, variant.policy, **variant.ialp)
        curve = curve_of(settings, seed, settings.verdicts)
        model.learn(settings.verdicts[-1], callback=curve)
        assert model.replay_buffer is not None
        picked = float(model.replay_buffer.rewards[: model.replay_buffer.pos].mean())
        if name == DEFAULT:
            model.save_pretrained(pretrained_folder(settings, seed))
        return [{"variant": name, "seed": seed, "curve": curve.points, "picked": picked}]

    what = _what_counts(settings, "verdicts", "updates_per_verdict") | asdict(variant)
    return _record(settings, name, seed, "pretraining", what, compute)


def online_cell(settings: Settings, name: str, seed: int) -> Record:
    """Takes the default's pre-trained policy online as one variant, or learns from scratch."""
    agent, changes = ONLINE[name]

    def compute() -> list[Record]:
        users = users_of(settings, settings.users, split="train")
        updates = max(1, round(settings.users * settings.updates_per_step))
        features = features_of(settings.env, settings.data, BEST_START[settings.env])
        env: VecEnv = BatchedVecEnv(users)
        model: BaseAlgorithm
        if agent == "LLMOnline":
            judge = build_judge(settings.judge, users.dataset, cache=settings.cache, seed=seed)
            oracle = LLMOracleVectorEnv(users, judge, k=settings.k, reward="env")
            # The judge stays between agent and users instead of before them.
            model = make_ialp(BatchedVecEnv(oracle), features, updates, seed)
        elif agent in FROM_SCRATCH:
            model = make_from_scratch(agent, env, features, updates, seed, policy=changes)
        else:
            folder = pretrained_folder(settings, seed)
            model = make_from_policy(agent, folder, env, updates, seed, **changes)
        points = np.linspace(0, settings.online_steps, 5)[1:].astype(int)
        curve = curve_of(settings, seed, tuple(points.tolist()))
        start = time.perf_counter()
        model.learn(settings.online_steps, callback=curve)
        row = {
            "variant": name,
            "seed": seed,
            "curve": curve.points,
            "while_learning": float(np.mean(curve.returns)),
            "learning_s": time.perf_counter() - start - curve.seconds,
        }
        return [row]

    what = _what_counts(settings, "verdicts", "updates_per_verdict") | asdict(PRETRAINING[DEFAULT])
    what |= _what_counts(settings, "online_steps", "updates_per_step") | {"online": changes}
    if agent != "LLMOnline":
        what["arguments"] = searched(agent, BEST_START[settings.env])
    return _record(settings, name, seed, "online", what, compute)


def curve_of(settings: Settings, seed: int, steps: tuple[int, ...]) -> TestCurve:
    """Makes the callback that tests at the start and after each number of steps."""
    users = users_of(settings, settings.sessions, split="test")
    return TestCurve(users, (0, *steps), seed, deterministic=not settings.stochastic)


def users_of(settings: Settings, n: int, **arguments: Any) -> RecommenderVectorEnv:
    """Makes n users of the study's environment."""
    return make_users(settings.env, n, data=settings.data, **arguments)


def pretrained_folder(settings: Settings, seed: int) -> Path:
    """Where the default's pre-trained policy of a seed is kept."""
    return settings.folder / f"iALP_{settings.judge.replace('/', '_')}_seed{seed}"


def _what_counts(settings: Settings, *names: str) -> dict[str, Any]:
    always = ("env", "data", "judge", "k", "users", "sessions", "stochastic")
    found = asdict(settings)
    return {
        name: list(v) if isinstance(v := found[name], tuple) else v for name in (*always, *names)
    }


def _record(
    settings: Settings,
    name: str,
    seed: int,
    study: str,
    what: dict[str, Any],
    compute: Callable[[], list[Record]],
) -> Record:
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    file = settings.folder / study / f"{slug}_seed{seed}.json"
    return record_of(file, what, settings.env, settings.data, compute)


if __name__ == "__main__":
    main(tyro.cli(Settings))
