"""The two judges that cost nothing, which a language model has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_oracle.calibration import Calibration
from llm_oracle.judge import NONE, check_request, item_counts
from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.text import word_options
from recsim_envs.notices import logger


class PopularityJudge:
    """Takes the candidate that most people took. Reads neither the history nor any text.

    None of them, where nobody took any of the candidates. A tie goes to the first in the slate.

    Args:
        dataset: the catalogue.
        counts: (n_items,) interactions an item; default ``dataset.popularity``, those of
            the training sequences.
        calibration: of the log of one more than the count; default none.

    Attributes:
        name: how records and tables call it.
    """

    def __init__(
        self,
        dataset: Dataset,
        counts: ArrayLike | None = None,
        *,
        calibration: Calibration | None = None,
    ) -> None:
        self.name = "popularity"
        self.n_items = dataset.n_items
        self.counts = item_counts(dataset, counts)
        self.calibration = calibration

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`llm_oracle.judge.Judge.choose`."""
        scores = self.scores(histories, slates, users)
        if self.calibration is None:
            return _best(self.counts[slates])
        return self.calibration.choose(scores, self.counts[slates])

    def scores(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> FloatArray:
        """Returns log(1 + count) of each candidate, (B, k).

        The arguments and errors are those of :meth:`choose`.
        """
        check_request(self.n_items, histories, slates)
        return np.log1p(self.counts[slates].astype(np.float64))

    def describe(self) -> dict[str, Any]:
        """Returns what the scores are, JSON-able; a calibration is for it alone."""
        return {"model": "popularity"}


class TfidfJudge:
    """Takes the candidate whose text is most like the history's (and the user's) text.

    Likeness is the dot product of TF-IDF vectors, summed over the history's items. None of them,
    where no candidate shares a word with the history. A tie goes to the first in the slate.
    Scripts without spaces are split as :func:`recsim_envs.data.text.word_options` says.

    Args:
        dataset: the catalogue and its texts.
        counts: (n_items,) popularity of the items, for a calibration; default
            ``dataset.popularity``, that of the training sequences.
        calibration: of likeness and popularity; default none: the most alike, whoever took it.

    Attributes:
        name: how records and tables call it.
    """

    def __init__(
        self,
        dataset: Dataset,
        counts: ArrayLike | None = None,
        *,
        calibration: Calibration | None = None,
    ) -> None:
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.name = "tfidf"
        self.n_items = dataset.n_items
        self.counts = item_counts(dataset, counts)
        self.calibration = calibration
        # Single letters count as words too: sizes and thread pitches are what tells bolts apart.
        # Words of more than half of the items ("by", "jacket") would make any two items alike.
        texts = dataset.items["text"].tolist()
        vectorizer = TfidfVectorizer(**word_options(texts, r"\w+"), max_df=0.5)
        self.users = None
        try:
            self.items = vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's for texts without words, or with the same ones all
            self.items = csr_array((self.n_items, 1))
        else:
            if dataset.users is not None:
                self.users = vectorizer.transform(dataset.users["text"])
        # How many items hold each word; a word of one item makes it like itself only.
        if np.bincount(self.items.indices, minlength=1).max() < 2 and self.users is None:
            logger.warning(
                f"the item texts of {dataset.name!r} share no word that tells items apart: the "
                "TF-IDF judge will answer None to every slate of new items. Prepare the data with "
                "--text columns that describe the items"
            )

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`llm_oracle.judge.Judge.choose`."""
        likeness = self.scores(histories, slates, users)
        if self.calibration is None:
            return _best(likeness)
        return self.calibration.choose(likeness, self.counts[slates])

    def scores(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> FloatArray:
        """Returns the likeness of each candidate, (B, k), 0 or more.

        The arguments and errors are those of :meth:`choose`.
        """
        from scipy.sparse import csr_array

        check_request(self.n_items, histories, slates)
        row, column = np.nonzero(histories < self.n_items)
        ones = np.ones(len(row))
        chosen = csr_array((ones, (row, histories[row, column])), shape=(len(slates), self.n_items))
        profile = chosen @ self.items  # (B, words)
        if self.users is not None and users is not None:
            profile = profile + self.users[users]
        batch, k = slates.shape
        candidates = self.items[slates.ravel()]  # (B * k, words)
        likeness = candidates.multiply(profile[np.arange(batch).repeat(k)]).sum(axis=1)
        result: FloatArray = np.asarray(likeness).reshape(batch, k)
        return result

    def describe(self) -> dict[str, Any]:
        """Returns what the scores are, JSON-able; a calibration is for it alone."""
        return {"model": "tfidf"}


def _best(scores: NDArray[np.number]) -> IntArray:
    """The index of each row's highest score, -1 where no score is above 0."""
    picks = scores.argmax(axis=1)
    return np.where(scores.max(axis=1) > 0, picks, NONE).astype(np.int64)
