"""The experiment: computes a cell, whatever its agent, and records it.

A cell pre-trains iALP with the judge on ``split="train"`` (nobody leaves, no user's reward is
seen), or lets an agent learn online from the users of ``split="train"``, or plays the reference
policies. All are played on ``split="test"``, before, while and after they learn.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.agents import (
    FROM_SCRATCH,
    features_of,
    make_from_policy,
    make_from_scratch,
    make_ialp,
)
from benchmarks.cells import IALP, LLM_ONLINE, REFERENCES, Cell, ialp_of, pretraining_of
from benchmarks.curve import SAMPLED, TestCurve, sample_sessions, summary
from benchmarks.records import Place, Record, is_old, read_record, write_record
from llm_oracle import LLMOracleVectorEnv
from llm_oracle.judge import Judge
from llm_oracle.judges.build import build_judge
from llm_oracle.recording import RecordInteractions
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.lists import TRAINING_USERS, fixed_lists
from recsim_envs.report.play import make_users, play, rounds_of
from recsim_envs.report.policies import reference_policies, reference_scorers
from recsim_envs.sb3 import BatchedVecEnv

INTERACTIONS = "interactions.safetensors"
"""Beside a pre-trained policy: what it was taught from, for ``recsim export-minari``."""
CURVE_SHARE = 0.25
"""Sessions of a curve's point, as a share of a result's; at least ``CURVE_SESSIONS``, if it has
as many."""
CURVE_SESSIONS = 250
EPOCHS = (0, 1, 2)
"""The paper's e of Tables 3 and 4."""


def run_cell(cell: Cell, place: Place, fresh: bool = False) -> Record:
    """Returns a cell's record; computes it, in one thread, unless it is there already.

    Other processes that want the same cell, of this sweep or another, wait for it and read it.

    Args:
        cell: what to compute. The pre-training that it starts from is computed first.
        place: where the files are.
        fresh: what is old counts as missing, the pre-training too.
    """
    file = place.file(cell)
    needed = pretraining_of(cell)
    pretrained = run_cell(needed, place, fresh)["policy"] if needed is not None else None
    locks = place.output / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{file.stem}.lock"):
        done = read_record(file)
        if done is not None and fresh and is_old(done):
            done = None
        if done is not None and done["pretrained"] == pretrained:
            return done
        torch.set_num_threads(1)
        start = time.perf_counter()
        if cell.variant.agent == REFERENCES:
            results: Record = play_references(cell)
        elif cell.variant.agent == IALP:
            results = pretrain(cell, place)
        else:
            folder = place.policy(needed) if needed is not None else None
            results = learn_online(cell, place, folder)
        wall_s = time.perf_counter() - start
        return write_record(file, cell, {"pretrained": pretrained, **results}, wall_s)


def pretrain(cell: Cell, place: Place) -> Record:
    """Pre-trains iALP with the judge (Algorithm 1); the default's policy and record are kept.

    The users of this environment never leave: a departure would tell the agent something of the
    users' rewards, and this is the phase without users.
    """
    assert cell.pretraining is not None and cell.judging is not None
    users = users_of(cell, cell.simulation.users, split="train", leaves=False)
    judge = judge_of(cell, place, users)
    recorder = RecordInteractions(LLMOracleVectorEnv(users, judge, k=cell.judging.k))
    env = BatchedVecEnv(recorder)
    model = make_ialp(
        env,
        features_of(cell.simulation.env, cell.simulation.data, cell.variant.start),
        updates_of(cell, cell.pretraining.updates_per_verdict),
        cell.seed,
        cell.variant.policy,
        **cell.variant.changes,
    )
    results = learn(cell, model, cell.pretraining.verdicts, epochs=())
    assert model.replay_buffer is not None
    # The judge's own measure, in its own units: verdicts that named an item, not users' rewards.
    results["picked"] = float(model.replay_buffer.rewards[: model.replay_buffer.pos].mean())
    results["judge"] = judge.name
    if cell.variant == ialp_of(cell.simulation.env):
        recorder.save(place.policy(cell) / INTERACTIONS)
        model.save_pretrained(place.policy(cell))
    env.close()
    return results


def learn_online(cell: Cell, place: Place, pretrained: Path | None) -> Record:
    """Lets an agent learn from the users of the training split."""
    assert cell.online is not None
    users = users_of(cell, cell.simulation.users, split="train")
    updates = updates_of(cell, cell.online.updates_per_step)
    variant, seed = cell.variant, cell.seed
    features = features_of(cell.simulation.env, cell.simulation.data, variant.start)
    env: VecEnv = BatchedVecEnv(users)
    model: BaseAlgorithm
    if variant.agent in FROM_SCRATCH:
        model = make_from_scratch(
            variant.agent, env, features, updates, seed, variant.policy, **variant.changes
        )
    elif variant.agent == LLM_ONLINE:
        assert cell.judging is not None
        judge = judge_of(cell, place, users)
        oracle = LLMOracleVectorEnv(users, judge, k=cell.judging.k, reward="env")
        env = BatchedVecEnv(oracle)
        model = make_ialp(env, features, updates, seed, variant.policy, **variant.changes)
    else:
        source = pretrained or make_ialp(env, features, updates, seed)
        model = make_from_policy(variant.agent, source, env, updates, seed, **variant.changes)
    results = learn(cell, model, cell.online.online_steps, [e * cell.online.epoch for e in EPOCHS])
    env.close()
    return results


def learn(cell: Cell, model: BaseAlgorithm, steps: int, epochs: list[int] | tuple[()]) -> Record:
    """Learns for ``steps``, and tests before, after ``epochs`` and in between."""
    testing = cell.testing
    few = min(testing.sessions, max(CURVE_SESSIONS, round(testing.sessions * CURVE_SHARE)))
    tests = {round(steps * n / testing.curve_points): few for n in range(1, testing.curve_points)}
    tests |= dict.fromkeys((n for n in (0, *epochs, steps) if n <= steps), testing.sessions)
    curve = TestCurve(
        lambda n: users_of(cell, n, split=testing.split), tests, cell.seed, not testing.stochastic
    )
    start = time.perf_counter()
    model.learn(steps, callback=curve)
    return {
        "points": curve.points,
        "episodes": curve.episodes,
        "samples": curve.samples,
        "learning_s": round(time.perf_counter() - start - curve.seconds, 1),
    }


def play_references(cell: Cell) -> Record:
    """Plays the reference policies on the test split."""
    lists = fixed_lists(users_of(cell, TRAINING_USERS, split="train"), 10_000 + cell.seed)
    # The oracle scores the whole catalogue for each user: not all of them at once.
    n, rounds = rounds_of(cell.testing.sessions)
    users = users_of(cell, n, split="test")
    sampled = users_of(cell, SAMPLED, split="test")
    references, samples = {}, {}
    scorers = reference_scorers(users.dataset)
    policies = reference_policies(users, cell.seed, lists=lists, scorers=scorers)
    for name, act in policies.items():
        references[name] = summary(play(users, act, seed=10_000 + cell.seed, rounds=rounds))
    of_samples = reference_policies(sampled, cell.seed, lists=lists, scorers=scorers)
    for name, act in of_samples.items():
        samples[name] = sample_sessions(act, sampled, cell.seed)
    return {"references": references, "samples": samples}


def users_of(cell: Cell, n: int, **arguments: Any) -> RecommenderVectorEnv:
    """Makes n users of the cell's environment."""
    users = cell.simulation
    if users.history != "shown":
        arguments["history"] = users.history
    return make_users(users.env, n, data=users.data, **arguments)


def judge_of(cell: Cell, place: Place, users: RecommenderVectorEnv) -> Judge:
    """Builds the cell's judge."""
    assert cell.judging is not None
    return build_judge(
        cell.judging.judge,
        users.dataset,
        quantization=cell.judging.quantization,
        cache=place.cache,
        seed=cell.seed,
        api_key_env=place.api_key_env,
        max_requests=place.max_requests,
        least_mass=cell.judging.least_mass,
        calibration=cell.judging.calibration,
    )


def updates_of(cell: Cell, per_step: float) -> int:
    """Gradient steps after each step of all users."""
    return max(1, round(cell.simulation.users * per_step * cell.variant.updates))
