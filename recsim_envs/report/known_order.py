"""Section "known order": what real users chose must beat what they did not."""

from __future__ import annotations

import numpy as np

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.report.figures import Cell, Section, mean_of
from recsim_envs.report.play import USERS_AT_ONCE
from recsim_envs.report.subject import SessionSubject, padded

ORDER = ("replayed held-out items", "popularity", "shuffled held-out items", "least popular")


def known_order_section(subject: SessionSubject, sessions: int, seed: int) -> Section:
    """Makes the section; see :func:`mean_rewards` for what is played."""
    found = mean_rewards(subject, sessions, seed)
    rows: list[dict[str, Cell]] = []
    warnings = []
    for number, name in enumerate(ORDER):
        row: dict[str, Cell] = {"shown": name, "R_avg": mean_of(found[name]), "less the next": None}
        if number + 1 < len(ORDER):
            gap = mean_of(found[name] - found[ORDER[number + 1]])
            row["less the next"] = gap
            if gap.value <= 0:
                warnings.append(f"{name} does not beat {ORDER[number + 1]}")
        rows.append(row)
    question = "Do items that are known to be better or worse for a user come out so?"
    return Section("known order", question, rows, warnings)


def mean_rewards(subject: SessionSubject, sessions: int, seed: int) -> dict[str, FloatArray]:
    """Plays four sequences of known order to the users of held-out sequences.

    A session starts with the first item of a held-out sequence. It is shown the sequence's further
    items; the most popular ones; as many of the held-out sequences' items, shuffled among all
    sequences and places; the least popular ones. All four run for as many steps as the sequence has
    further items, at most to the length cap; nobody leaves.

    Args:
        subject: the simulators; the test split's reward model answers.
        sessions: held-out sequences, drawn without replacement; all where there are fewer.
        seed: of the draw.

    Returns:
        Mean reward a recommendation in each session, (S,), by name.
    """
    dataset = subject.dataset
    rng = np.random.default_rng(seed)
    usable = [number for number in dataset.held_out if len(dataset.sequences[number]) > 1]
    numbers = rng.permutation(usable)[:sessions]
    sequences = [dataset.sequences[number] for number in numbers]
    length = subject.users(1).simulator.max_steps
    own = padded([sequence[1:] for sequence in sequences], length, dataset.n_items)
    real = own < dataset.n_items  # (S, length)
    ranking = np.argsort(-dataset.popularity, kind="stable")
    shuffled = np.zeros_like(own)
    shuffled[real] = rng.permutation(own[real])
    lists = {
        ORDER[0]: np.where(real, own, 0),
        ORDER[1]: np.tile(ranking[:length], (len(numbers), 1)),
        ORDER[2]: shuffled,
        ORDER[3]: np.tile(ranking[::-1][:length], (len(numbers), 1)),
    }
    return {name: _play(subject, numbers, items, real, seed) for name, items in lists.items()}


def _play(
    subject: SessionSubject, numbers: IntArray, items: IntArray, real: BoolArray, seed: int
) -> FloatArray:
    parts = []
    for first in range(0, len(numbers), USERS_AT_ONCE):
        batch = slice(first, first + USERS_AT_ONCE)
        env = subject.users(len(numbers[batch]), leaves=False)
        env.reset(seed=seed, options={"sequence": numbers[batch]})
        rewards = np.stack([env.step(column)[1] for column in items[batch].T], axis=1)
        parts.append((rewards * real[batch]).sum(axis=1) / real[batch].sum(axis=1))
    return np.concatenate(parts)
