"""Section "likeness to the log": do simulated sessions look like the recorded ones?

A policy that imitates the log offers items; what the simulated users accept of them forms sequences
as the log's. Their items' popularity and their transitions between categories (or artists) are
compared with held-out sequences, as in Sim4Rec (sb-ai-lab/Sim4Rec) and its kind. Training sequences
compared with the same ones show how near one can come.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import jensenshannon

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.report.figures import Cell, Figure, Section, resampled
from recsim_envs.report.subject import SessionSubject

GROUPS = ("artist", "category", "brand", "genre")
"""Item columns between whose values transitions are counted: the first that the data has."""
N_GROUPS = 20
"""The commonest values in the training sequences; all others count as one."""
RESAMPLES = 200


def likeness_section(subject: SessionSubject, sessions: int, seed: int) -> Section:
    """Makes the section.

    Args:
        subject: the simulators; the test split's reward model answers.
        sessions: simulated sessions.
        seed: of the users and of the policies.
    """
    dataset = subject.dataset
    train, held_out = dataset.with_choices(dataset.train), dataset.with_choices(dataset.held_out)
    drawn = np.random.default_rng(seed).permutation(len(train))[: len(held_out)]
    logged = next_items(train, dataset.n_items)
    samples = {
        "simulated, offered as the log has it": accepted(subject, logged, sessions, seed),
        "simulated, offered at random": accepted(subject, {}, sessions, seed),
        "training sequences": [train[number] for number in drawn],
    }
    column, group = groups_of(dataset)
    rows: list[dict[str, Cell]] = []
    for name, sequences in samples.items():
        taken = sum(len(sequence) - 1 for sequence in sequences) / len(sequences)
        row: dict[str, Cell] = {"sequences": name, "items accepted": taken}
        row["KS distance of item popularity"] = _resampled_ks(dataset, sequences, held_out)
        likeness = None if group is None else _resampled_js(group, sequences, held_out)
        row[f"1 - JS distance of {column} transitions"] = likeness
        rows.append(row)
    question = "Do sequences of accepted items look like held-out sequences?"
    return Section("likeness to the log", question, rows)


def next_items(sequences: Sequence[IntArray], n_items: int) -> dict[int, IntArray]:
    """What followed each item in the sequences, one entry a transition; -1 holds all of them."""
    before = np.concatenate([sequence[:-1] for sequence in sequences])
    after = np.concatenate([sequence[1:] for sequence in sequences])
    order = np.argsort(before, kind="stable")
    ends = np.searchsorted(before[order], np.arange(n_items + 1))
    found = {item: after[order[ends[item] : ends[item + 1]]] for item in range(n_items)}
    return {-1: after, **{item: following for item, following in found.items() if len(following)}}


def accepted(
    subject: SessionSubject, logged: dict[int, IntArray], sessions: int, seed: int
) -> list[IntArray]:
    """Simulates sequences of accepted items, each with the item that the session started with.

    Args:
        subject: the simulators. Nobody leaves, and accepted items alone enter the history.
        logged: of :func:`next_items`: each user is offered what followed the newest accepted item
            in a random transition of the log, or any logged item where nothing did. Empty: offers
            are uniformly random.
        sessions: number of sequences.
        seed: of users and offers.
    """
    env = subject.users(sessions, history="accepted", leaves=False)
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    simulator = env.simulator
    sequences = [[int(item)] for item in simulator.history[:, -1]]
    for _ in range(simulator.max_steps):
        if logged:
            pools = [logged.get(sequence[-1], logged[-1]) for sequence in sequences]
            offers = np.array([pool[rng.integers(len(pool))] for pool in pools])
        else:
            offers = rng.integers(subject.dataset.n_items, size=sessions)
        *_, infos = env.step(offers)
        for row in np.flatnonzero(infos["accepted"]):
            sequences[row].append(int(offers[row]))
    return [np.array(sequence) for sequence in sequences]


def ks_distance(first: FloatArray, second: FloatArray, weight: FloatArray) -> FloatArray:
    """Kolmogorov-Smirnov distance: the largest gap between two distribution functions.

    Args:
        first: (n,) values.
        second: (m,) values.
        weight: (R, n) weights of the first's.

    Returns:
        (R,) distances; NaN where no value has a weight.
    """
    order = np.argsort(first, kind="stable")
    at = np.unique(np.concatenate([first, second]))
    upto = np.searchsorted(first[order], at, side="right")
    summed = np.pad(weight[:, order].cumsum(axis=1), ((0, 0), (1, 0)))  # (R, n + 1)
    with np.errstate(invalid="ignore"):
        below = summed[:, upto] / summed[:, -1:]
    other = np.searchsorted(np.sort(second), at, side="right") / len(second)
    distance: FloatArray = np.abs(below - other).max(axis=1)
    return distance


def js_likeness(first: FloatArray, second: FloatArray) -> float:
    """1 less the Jensen-Shannon distance (base 2) of two vectors of counts: 1 where alike.

    NaN where one of them counts nothing.
    """
    if not (first.any() and second.any()):
        return float("nan")
    return 1.0 - float(jensenshannon(first, second, base=2))


def groups_of(dataset: Dataset) -> tuple[str, IntArray | None]:
    """The group of each item, (n_items,), and the column it comes from; None without a column."""
    for column in GROUPS:
        if column in dataset.items.columns:
            value = dataset.items[column].to_numpy()
            names, group = np.unique(value, return_inverse=True)
            count = np.bincount(group, weights=dataset.popularity, minlength=len(names))
            place = np.empty(len(names), dtype=np.int64)
            place[np.argsort(-count, kind="stable")] = np.arange(len(names))
            return column, np.minimum(place[group], N_GROUPS)
    return "group", None


def transition_counts(sequences: Sequence[IntArray], group: IntArray) -> FloatArray:
    """How often each sequence goes from one group to another: (S, n_groups ** 2)."""
    n_groups = N_GROUPS + 1
    counts = np.zeros((len(sequences), n_groups**2))
    for row, sequence in zip(counts, sequences, strict=True):
        of = group[sequence]
        row += np.bincount(of[:-1] * n_groups + of[1:], minlength=n_groups**2)
    return counts


def _resampled_ks(
    dataset: Dataset, sequences: Sequence[IntArray], others: Sequence[IntArray]
) -> Figure:
    """Compares the popularity of what follows the first item; resampled by sequence."""
    following = [sequence[1:] for sequence in sequences]
    owner = np.repeat(np.arange(len(sequences)), [len(items) for items in following])
    popularity = dataset.popularity.astype(np.float64)
    first = popularity[np.concatenate(following)]
    second = popularity[np.concatenate([sequence[1:] for sequence in others])]

    def distance(rows: IntArray) -> FloatArray:
        weight = [np.bincount(row, minlength=len(sequences))[owner] for row in rows]
        return ks_distance(first, second, np.stack(weight))

    return resampled(distance, len(sequences), RESAMPLES, biased=True)


def _resampled_js(
    group: IntArray, sequences: Sequence[IntArray], others: Sequence[IntArray]
) -> Figure:
    counts, other = (
        transition_counts(sequences, group),
        transition_counts(others, group).sum(axis=0),
    )

    def likeness(rows: IntArray) -> FloatArray:
        return np.array([js_likeness(counts[row].sum(axis=0), other) for row in rows])

    return resampled(likeness, len(sequences), RESAMPLES, biased=True)
