"""How good a judge is: does it find the item that a real user took next?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from llm_oracle.judge import Judge
from llm_oracle.judges.calibrated import ScoringJudge
from llm_oracle.judges.language import LanguageModelJudge
from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DataError
from recsim_envs.rewards.ready import LIKED

BATCH = 16


class Questions(NamedTuple):
    """Multiple-choice questions with known answers; one row a question.

    Attributes:
        histories: (B, H) what the user chose before, padded on the left with ``n_items``.
        slates: (B, k) the candidates.
        users: (B,) user ids, or None where the data has no user table.
        answers: (B,) index in the slate of what the user really chose, -1 where it is not there.
        sequences: (B,) number of the sequence that each question comes from.
    """

    histories: IntArray
    slates: IntArray
    users: IntArray | None
    answers: IntArray
    sequences: IntArray


@dataclass(frozen=True)
class Accuracy:
    """How a judge did on questions from real sequences.

    Attributes:
        judge: its name.
        n: number of questions of each kind.
        k: candidates a question; guessing is right once in k.
        accuracy: share of questions whose true next item it picked.
        none_rate: share of those questions that it answered with "None of them".
        none_rate_without: the same for slates of random items only, where "None of them" is right.
        prompts_per_second: verdicts a second, first-time costs (loading, priors) included.
    """

    judge: str
    n: int
    k: int
    accuracy: float
    none_rate: float
    none_rate_without: float
    prompts_per_second: float


def next_item_questions(
    dataset: Dataset,
    n: int = 200,
    k: int = 10,
    seed: int = 0,
    sequences: IntArray | None = None,
    history_length: int = 12,
    with_answer: bool = True,
) -> Questions:
    """Draws questions: a sequence up to a random point, and k candidates for what came next.

    The true next item stands at a random place among ``k - 1`` uniformly random other items that
    are not in the sequence; sequences that leave fewer than k are not asked about. Where the data
    has ratings, only items rated 4 or 5 count as choices.

    Args:
        dataset: real sequences.
        n: number of questions; sequences are drawn with replacement.
        k: candidates a question.
        seed: of all draws.
        sequences: numbers of the sequences to draw from; default ``dataset.held_out``.
        history_length: H, the most recent choices that the judge is shown.
        with_answer: False replaces the true item by another random one.

    Raises:
        DataError: if no sequence has two choices, or none leaves k other items.
    """
    if sequences is None:
        sequences = dataset.held_out
    rng = np.random.default_rng(seed)
    choices = choices_of(dataset)
    usable = [s for s in sequences if len(choices[s]) >= 2]
    if not usable:
        raise DataError("none of the sequences holds two choices: pass other sequences")
    usable = [s for s in usable if dataset.n_items - len(np.unique(choices[s])) >= k]
    if not usable:
        raise DataError(f"k={k}, but fewer of {dataset.n_items} items are new to a user: lower k")
    drawn = rng.choice(usable, n)
    histories = np.full((n, history_length), dataset.n_items, dtype=np.int64)
    slates = np.empty((n, k), dtype=np.int64)
    answers = rng.integers(k, size=n)
    for row, sequence in enumerate(drawn):
        items = choices[sequence]
        now = rng.integers(1, len(items))
        past = items[max(0, now - history_length) : now]
        histories[row, history_length - len(past) :] = past
        others = np.setdiff1d(np.arange(dataset.n_items), items, assume_unique=False)
        slates[row] = rng.choice(others, k, replace=False)
        if with_answer:
            slates[row, answers[row]] = items[now]
    if not with_answer:
        answers = np.full(n, -1)
    return Questions(histories, slates, users_of(dataset, drawn), answers, drawn)


def mixed_questions(
    dataset: Dataset, n: int, k: int, none_share: float, seed: int, sequences: IntArray
) -> Questions:
    """Draws n questions, a share of them without the true item: their answer is "None of them".

    The other arguments are those of :func:`next_item_questions`.
    """
    without = round(n * none_share)
    parts = [
        next_item_questions(dataset, size, k, seed, sequences, with_answer=with_answer)
        for size, with_answer in ((n - without, True), (without, False))
        if size
    ]
    histories, slates, users, answers, numbers = zip(*parts, strict=True)
    return Questions(
        np.concatenate(histories),
        np.concatenate(slates),
        None if dataset.users is None else np.concatenate(users),
        np.concatenate(answers),
        np.concatenate(numbers),
    )


def next_item_accuracy(
    judge: Judge,
    dataset: Dataset,
    n: int = 200,
    k: int = 10,
    seed: int = 0,
    sequences: IntArray | None = None,
    history_length: int = 12,
) -> Accuracy:
    """Asks ``judge`` the questions of :func:`next_item_questions`, n with and n without an answer.

    The arguments are those of :func:`next_item_questions`.
    """
    draw = partial(
        next_item_questions,
        dataset,
        n,
        k,
        sequences=sequences,
        history_length=history_length,
    )
    questions = draw(seed=seed)
    hopeless = draw(seed=seed + 1, with_answer=False)
    start = time.perf_counter()
    picks = ask(judge, questions)
    picks_without = ask(judge, hopeless)
    return Accuracy(
        judge=judge.name,
        n=n,
        k=k,
        accuracy=float((picks == questions.answers).mean()),
        none_rate=float((picks < 0).mean()),
        none_rate_without=float((picks_without < 0).mean()),
        prompts_per_second=2 * n / (time.perf_counter() - start),
    )


def ask(judge: Judge, questions: Questions) -> IntArray:
    """Returns the judge's picks (B,), a few questions at a time under a progress bar."""
    return np.concatenate([judge.choose(*batch) for batch in _batches(judge, questions)])


def scores_of(judge: ScoringJudge, questions: Questions) -> FloatArray:
    """Returns the judge's scores (B, k), a few questions at a time under a progress bar."""
    scores = [judge.scores(*batch) for batch in _batches(judge, questions)]
    return np.concatenate(scores).astype(np.float64)


def _batches(
    judge: Judge, questions: Questions
) -> Iterator[tuple[IntArray, IntArray, IntArray | None]]:
    """Yields histories, slates and users of a few questions at a time."""
    from tqdm.auto import tqdm

    starts = range(0, len(questions.slates), BATCH)
    bar = tqdm(starts, desc=judge.name, unit="batch", leave=False)
    for start in bar:
        part = slice(start, start + BATCH)
        users = None if questions.users is None else questions.users[part]
        yield questions.histories[part], questions.slates[part], users
        if isinstance(judge, LanguageModelJudge):
            bar.set_postfix_str(judge.model.spent())


def choices_of(dataset: Dataset) -> list[IntArray]:
    """What each sequence's user chose, oldest first: with ratings, what was rated 4 or 5."""
    if "rating" not in dataset.interactions.columns:
        return dataset.sequences
    ratings = dataset.interactions["rating"].to_numpy()
    ends = np.cumsum([len(items) for items in dataset.sequences])[:-1]
    parts = zip(dataset.sequences, np.split(ratings, ends), strict=True)
    return [items[rating >= LIKED] for items, rating in parts]


def users_of(dataset: Dataset, sequences: IntArray) -> IntArray | None:
    """The user (B,) of each of the numbered sequences (B,), None without a user table."""
    if dataset.users is None:
        return None
    first = dataset.interactions.drop_duplicates("sequence")
    users: IntArray = first["user"].to_numpy(np.int64)
    return users[sequences]
