"""What a judge is, and the two cheap ones that a language model has to beat.

A judge stands in for the user: it sees what the user chose so far and a slate of candidates, and
says which of them the user takes next, or that the user takes none of them.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.text import word_options

NONE = -1
"""The pick that means: the user takes none of the candidates."""


class JudgeError(RuntimeError):
    """A judge has no verdict: its server is silent, or its model chose none of the options."""


class Judge(Protocol):
    """Chooses for a batch of users.

    A verdict depends only on its own row: batching is for speed and never changes a pick.

    Attributes:
        name: how records and tables call this judge.
        n_items: size of the catalogue it knows; item ids are ``0..n_items-1``.
    """

    name: str
    n_items: int

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """Picks one candidate a row.

        Args:
            histories: (B, H) item ids, oldest first, padded on the left with ``n_items``.
            slates: (B, k) ids of the candidates.
            users: (B,) user ids where the data describes its users, else None.

        Returns:
            (B,) int64, the pick's index in its slate, or -1 for none of them.

        Raises:
            ValueError: if the shapes do not match or an id is outside the catalogue.
        """
        ...


class PopularityJudge:
    """Takes the candidate that most people took. Reads neither the history nor any text.

    None of them, where nobody took any of the candidates. A tie goes to the first in the slate.

    Args:
        dataset: the catalogue.
        counts: (n_items,) interactions an item; default ``dataset.popularity``, those of
            the training sequences.
    """

    name = "popularity"

    def __init__(self, dataset: Dataset, counts: ArrayLike | None = None) -> None:
        self.n_items = dataset.n_items
        self.counts = item_counts(dataset, counts)

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`Judge.choose`."""
        check_request(self.n_items, histories, slates)
        return _best(self.counts[slates])


class TfidfJudge:
    """Takes the candidate whose text is most like the history's (and the user's) text.

    Likeness is the dot product of TF-IDF vectors, summed over the history's items. None of them,
    where no candidate shares a word with the history. A tie goes to the first in the slate.
    Scripts without spaces are split as :func:`recsim_envs.data.text.word_options` says.

    Args:
        dataset: the catalogue and its texts.
    """

    name = "tfidf"

    def __init__(self, dataset: Dataset) -> None:
        self.n_items = dataset.n_items
        # Single letters count as words too: sizes and thread pitches are what tells bolts apart.
        # Words of more than half of the items ("by", "jacket") would make any two items alike.
        texts = dataset.items["text"].tolist()
        vectorizer = TfidfVectorizer(**word_options(texts, r"\w+"), max_df=0.5)
        self.users = None
        try:
            self.items = vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's for texts without words, or with the same ones all
            self.items = sp.csr_array((self.n_items, 1))
        else:
            if dataset.users is not None:
                self.users = vectorizer.transform(dataset.users["text"])
        # How many items hold each word; a word of one item makes it like itself only.
        if np.bincount(self.items.indices, minlength=1).max() < 2 and self.users is None:
            warnings.warn(
                f"the item texts of {dataset.name!r} share no word that tells items apart: the "
                "TF-IDF judge will answer None to every slate of new items. Prepare the data with "
                "--text columns that describe the items",
                stacklevel=2,
            )

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`Judge.choose`."""
        check_request(self.n_items, histories, slates)
        row, column = np.nonzero(histories < self.n_items)
        ones = np.ones(len(row))
        chosen = sp.csr_array(
            (ones, (row, histories[row, column])), shape=(len(slates), self.n_items)
        )
        profile = chosen @ self.items  # (B, words)
        if self.users is not None and users is not None:
            profile = profile + self.users[users]
        batch, k = slates.shape
        candidates = self.items[slates.ravel()]  # (B * k, words)
        likeness = candidates.multiply(profile[np.arange(batch).repeat(k)]).sum(axis=1)
        return _best(np.asarray(likeness).reshape(batch, k))


def item_counts(dataset: Dataset, counts: ArrayLike | None) -> NDArray[np.number]:
    """Returns ``counts`` (n_items,), by default ``dataset.popularity``.

    Raises:
        ValueError: if ``counts`` has another shape.
    """
    result = np.asarray(dataset.popularity if counts is None else counts)
    if result.shape != (dataset.n_items,):
        raise ValueError(
            f"counts has shape {result.shape}: give one count an item, ({dataset.n_items},)"
        )
    return result


def check_request(n_items: int, histories: IntArray, slates: IntArray) -> None:
    """Refuses what no judge could answer.

    Raises:
        ValueError: if the shapes do not match or an id is outside the catalogue.
    """
    if histories.ndim != 2 or slates.ndim != 2 or len(histories) != len(slates):
        raise ValueError(
            f"histories {histories.shape} and slates {slates.shape} do not match: "
            "give (B, H) and (B, k) of the same B"
        )
    if slates.size and not 0 <= slates.min() <= slates.max() < n_items:
        raise ValueError(
            f"slates holds ids {slates.min()}..{slates.max()}, but this judge knows items "
            f"0..{n_items - 1}: build the judge from the environment's own dataset"
        )
    if histories.size and not 0 <= histories.min() <= histories.max() <= n_items:
        raise ValueError(
            f"histories holds ids {histories.min()}..{histories.max()}, but this judge knows items "
            f"0..{n_items - 1} (and {n_items} as padding): build it from the environment's dataset"
        )


def _best(scores: NDArray[np.number]) -> IntArray:
    """The index of each row's highest score, -1 where no score is above 0."""
    picks = scores.argmax(axis=1)
    return np.where(scores.max(axis=1) > 0, picks, NONE).astype(np.int64)
