"""Sections "ranking agreement" and "second simulator": would another measure rank alike?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.report.figures import Cell, Figure, Section, mean_of, resampled
from recsim_envs.report.policies import ORACLE
from recsim_envs.report.subject import SessionSubject
from recsim_envs.report.wins import Played
from recsim_envs.rewards.evaluate import Answers
from recsim_envs.rewards.sequence import SequenceReward

RESAMPLES = 200
WITHOUT_TEXT = "without_text"
"""Name of the reward model whose item vectors start at random."""


def kendall(first: FloatArray, second: FloatArray) -> float:
    """Kendall's tau-b of two rankings of the same things, from -1 to 1; NaN for constant ones."""
    return float(kendalltau(first, second).statistic)


def agreement_section(answers: Mapping[str, Answers], played: Mapping[str, Played]) -> Section:
    """Compares the order by held-out HR@10 with that by Return.

    Args:
        answers: of the recommenders to rank, to the held-out questions.
        played: their sessions, by the simulator's name; the first one is compared with the rest.
    """
    names = list(answers)
    hits = np.stack([answers[name].hit for name in names]).astype(np.float64)  # (P, Q)
    rows: list[dict[str, Cell]] = []
    for name in names:
        row: dict[str, Cell] = {"recommender": name, "HR@10": mean_of(answers[name].hit)}
        for simulator, sessions in played.items():
            row[f"Return, {simulator}"] = mean_of(sessions[name].reward)
        rows.append(row)
    rewards = {
        simulator: np.stack([sessions[name].reward for name in names])  # (P, S)
        for simulator, sessions in played.items()
    }
    first = next(iter(rewards))
    with_hits: dict[str, Cell] = {"recommender": "Kendall's tau with HR@10"}
    with_first: dict[str, Cell] = {"recommender": f"Kendall's tau with Return, {first}"}
    for simulator, found in rewards.items():
        with_hits[f"Return, {simulator}"] = resampled_tau(hits, found)
        if simulator != first:
            with_first[f"Return, {simulator}"] = resampled_tau(rewards[first], found)
    rows += [with_hits, with_first]
    question = "Does the simulator rank recommenders as held-out choices do?"
    return Section("ranking agreement", question, rows)


def resampled_tau(first: FloatArray, second: FloatArray) -> Figure:
    """Kendall's tau between the row means of (P, n) and (P, m), resampled by column in both."""
    rng = np.random.default_rng(1)

    def tau(columns: IntArray) -> FloatArray:
        found = []
        for drawn in columns:
            own = np.arange(first.shape[1])
            if len(columns) > 1:  # a resample, and not the figure itself
                own = rng.integers(len(own), size=len(own))
            found.append(kendall(first[:, own].mean(axis=1), second[:, drawn].mean(axis=1)))
        return np.array(found)

    return resampled(tau, second.shape[1], RESAMPLES)


def second_section(first: Played, second: Played) -> Section:
    """Compares Returns under the test model with those under the disjoint users' model."""
    rows: list[dict[str, Cell]] = []
    for name in first:
        rows.append(
            {
                "policy": name,
                "test model": mean_of(first[name].reward),
                "disjoint users' model": mean_of(second[name].reward),
                "gap": mean_of(first[name].reward - second[name].reward),
            }
        )
    ranked = [name for name in first if name != ORACLE]  # the two oracles are different policies
    tau = resampled_tau(*(np.stack([of[n].reward for n in ranked]) for of in (first, second)))
    rows.append({"policy": "Kendall's tau without the oracle", "gap": tau})
    question = "Would users simulated from other data, by another fit, rank the policies alike?"
    return Section("second simulator", question, rows)


def fit_without_text(subject: SessionSubject, seed: int, max_epochs: int = 50) -> SequenceReward:
    """Fits the test split's reward model again, with item vectors that start at random.

    Args:
        subject: the data. The fit sees what the test split's own did: the training sequences, and
            the held-out ones without their last items.
        seed: of the fit.
        max_epochs: most passes over the sequences.
    """
    # Only this needs torch.
    from recsim_envs.rewards.fit import fit_reward_model
    from recsim_envs.rewards.prepare import save_reward_model

    dataset = subject.dataset
    held_out = [sequence[:-1] for sequence in dataset.with_choices(dataset.held_out)]
    sequences = dataset.with_choices(dataset.train) + held_out
    model = fit_reward_model(
        sequences,
        dataset.n_items,
        seed=seed,
        embedding_dim=subject.rewards["test"].item.shape[1],
        max_epochs=max_epochs,
        progress="reward model without the text start",
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{WITHOUT_TEXT}.safetensors"
        save_reward_model(model, sequences, seed, file)
        return SequenceReward.load(file)
