"""Section "known order": what real users chose must beat what they did not.

Four kinds of items are offered to the users of held-out sequences, step by step: the items that the
user went on to choose; the most popular ones; as many held-out items, shuffled among all sequences
and places; the least popular ones. They must come out in this order. Two measures:

- *probability*: after the user's real history up to that step;
- *R_avg*: in a session of the environment, in which what was offered before is the history. There a
  list that is coherent in itself makes its own users, and the order may fail.
"""

from __future__ import annotations

import numpy as np

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.report.figures import Cell, Section, mean_of
from recsim_envs.report.play import USERS_AT_ONCE
from recsim_envs.report.subject import SessionSubject, padded

ORDER = ("replayed held-out items", "popularity", "shuffled held-out items", "least popular")
MEASURES = ("probability", "R_avg")


def known_order_section(subject: SessionSubject, sessions: int, seed: int) -> Section:
    """Makes the section of so many held-out sequences."""
    numbers, lists, real = offers_of(subject, sessions, seed)
    rows: list[dict[str, Cell]] = [{"offered": name} for name in ORDER]
    warnings = []
    for measure in MEASURES:
        found = {
            name: probabilities(subject, numbers, items, real)
            if measure == "probability"
            else session_rewards(subject, numbers, items, real, seed)
            for name, items in lists.items()
        }
        for place, name in enumerate(ORDER):
            rows[place][measure] = mean_of(found[name])
        for place, (name, after) in enumerate(zip(ORDER, ORDER[1:], strict=False)):
            gap = mean_of(found[name] - found[after])
            rows[place][f"{measure}, less the next"] = gap
            if gap.value <= 0:
                where = "after the real history" if measure == "probability" else "in sessions"
                warnings.append(f"{where}, {name} not above {after}: {gap.value:.2f}")
    question = "Do items that are known to be better or worse for a user come out so?"
    return Section("known order", question, rows, warnings)


def offers_of(
    subject: SessionSubject, sessions: int, seed: int
) -> tuple[IntArray, dict[str, IntArray], BoolArray]:
    """Draws held-out sequences without replacement, and what is offered to each of their users.

    Returns:
        The sequences' numbers (S,); the offers by name, (S, max_steps); and which of them count,
        (S, max_steps): as many as the sequence has items after its first.
    """
    dataset, rng = subject.dataset, np.random.default_rng(seed)
    usable = [number for number in dataset.held_out if len(dataset.sequences[number]) > 1]
    numbers = rng.permutation(usable)[:sessions]
    steps = subject.users(1).simulator.max_steps
    own = padded([dataset.sequences[number][1:] for number in numbers], steps, dataset.n_items)
    real = own < dataset.n_items
    shuffled = np.zeros_like(own)
    shuffled[real] = rng.permutation(own[real])
    ranking = np.argsort(-dataset.popularity, kind="stable")
    # A catalogue smaller than a session begins again.
    most, least = np.resize(ranking, steps), np.resize(ranking[::-1], steps)
    everyone = (len(numbers), 1)
    offers = (np.where(real, own, 0), np.tile(most, everyone), shuffled, np.tile(least, everyone))
    return numbers, dict(zip(ORDER, offers, strict=True)), real


def probabilities(
    subject: SessionSubject, numbers: IntArray, items: IntArray, real: BoolArray
) -> FloatArray:
    """Mean probability of each user's offers (S, steps) after the real history, (S,)."""
    reward, n_items = subject.rewards["test"], subject.dataset.n_items
    total = np.zeros(len(numbers))
    length = reward.history_length
    before = np.full((len(numbers), length), n_items)
    first = padded([subject.dataset.sequences[n] for n in numbers], items.shape[1], n_items)
    for step in range(items.shape[1]):
        before = np.concatenate([before[:, 1:], first[:, step, None]], axis=1)
        here = real[:, step]  # shorter sequences are over
        total[here] += reward.probability(before[here], items[here, step])
    mean: FloatArray = total / real.sum(axis=1)
    return mean


def session_rewards(
    subject: SessionSubject, numbers: IntArray, items: IntArray, real: BoolArray, seed: int
) -> FloatArray:
    """Mean reward of each user's offers (S, steps) in a session that nobody leaves, (S,)."""
    parts = []
    for first in range(0, len(numbers), USERS_AT_ONCE):
        batch = slice(first, first + USERS_AT_ONCE)
        env = subject.users(len(numbers[batch]), leaves=False)
        env.reset(seed=seed, options={"sequence": numbers[batch]})
        rewards = np.stack([env.step(column)[1] for column in items[batch].T], axis=1)
        parts.append((rewards * real[batch]).sum(axis=1) / real[batch].sum(axis=1))
    return np.concatenate(parts)
