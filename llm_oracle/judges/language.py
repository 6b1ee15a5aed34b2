"""The judge that asks a language model: one class over any model and any way to score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from llm_oracle.cache import VerdictCache, question_key
from llm_oracle.calibration import Calibration
from llm_oracle.judge import check_request, item_counts
from llm_oracle.language_model.evidence import LEAST_MASS, check_finite
from llm_oracle.scoring.label import AnswerScoring, LabelScoring
from llm_oracle.texts.item_texts import check_wording, item_texts, shown
from llm_oracle.texts.prompts import TEMPLATE_VERSIONS
from llm_oracle.texts.questions import Question, Words
from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.data.dataset import Dataset

if TYPE_CHECKING:
    from llm_oracle.language_model.local import LanguageModel
    from llm_oracle.language_model.server import Server

MAX_HISTORY = 6


class ScoringMethod(Protocol):
    """A way to score; see :class:`llm_oracle.scoring.label.LabelScoring`, which documents it."""

    name: str
    example: str
    default_calibration: Calibration
    masses: tuple[float, int]
    words: Words

    def question(self, past: IntArray, slate: IntArray, user: str) -> Question:
        """Puts a row into words."""

    def scores(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        """Yields the number of a question and its candidates' scores (k,), as they come."""


class LanguageModelJudge:
    """Scores every candidate against "None of them" and takes the best, if it is good enough.

    Never asks twice where it has a cache.

    Args:
        dataset: the catalogue, its texts, and the wording of its prompts. Without a calibration of
            its own it has that of its scenario; data with a scenario of the user's own counts as
            "products".
        model: :class:`llm_oracle.language_model.local.LanguageModel` or
            :class:`llm_oracle.language_model.server.Server`; judges of several catalogues may share
            one.
        scoring: "label", as in the paper, for models of 7B parameters; "likelihood" for small
            models in this process; "answer" for servers that give no log-probabilities. Default
            the adapter's; else "likelihood" for SmolLM2 and "label" for the rest.
        calibration: default the adapter's; without one, for "label" the likeliest label wins, as
            in the paper, and for "likelihood" (not in the paper) the best candidate must gain 8
            nats, and 4 for clothes, by measurement.
        counts: (n_items,) popularity of the items, for a calibration that uses it, and to see whose
            words are vouched for (:mod:`llm_oracle.texts.item_texts`); default
            ``dataset.popularity``.
            When measuring on held-out sequences, pass the training part's.
        max_history: older items are not shown; default the adapter's, else 6.
        max_item_length: longer item texts are cut; in tokens (default 20), characters for a server
            (default 80).
        max_prompt_length: a longer prompt loses its oldest items, never a candidate (default 2,048
            tokens, 8,000 characters).
        least_mass: total probability that the labels must have, or the answer is an error.
        seed: shuffles the labels ("label"), draws the items of the example list ("likelihood").
        cache: file of stored verdicts, see :class:`llm_oracle.cache.VerdictCache`; default none.

    Attributes:
        name: how records and tables call it.
        scoring: the object that scores.

    Raises:
        ValueError: for a ``scoring`` that the model does not know, or no history.
        DataError: for a wording that talks to the judge.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: LanguageModel | Server,
        scoring: str | None = None,
        *,
        calibration: Calibration | None = None,
        counts: ArrayLike | None = None,
        max_history: int | None = None,
        max_item_length: int | None = None,
        max_prompt_length: int | None = None,
        least_mass: float = LEAST_MASS,
        seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        card = model.card
        if max_history is None:
            max_history = MAX_HISTORY if card is None else card.max_history
        if max_history < 1:
            raise ValueError(f"max_history={max_history}: show the judge at least one item")
        name = model.scoring_name(scoring)
        self.model = model
        self.name = f"{model.label}/{name}" + ("" if card is None else "/tuned")
        self.n_items = dataset.n_items
        self.scenario = dataset.scenario
        self.counts = item_counts(dataset, counts)
        self.max_history = max_history
        self.seed = seed
        self.cache = None
        if cache is not None:
            about = {**model.describe(), "scoring": name, "template": TEMPLATE_VERSIONS[name]}
            self.cache = VerdictCache(cache, about)
        users = [] if dataset.users is None else [shown(text) for text in dataset.users["text"]]
        words = Words(
            scenario=dataset.scenario,
            wording=check_wording(dataset),
            items=model.cut(item_texts(dataset, counts), max_item_length or model.item_length),
            users=model.cut(users, model.user_length) if users else [],
            length=model.length,
            max_prompt=max_prompt_length or model.prompt_length,
            seed=seed,
        )
        self.texts = words.items
        self.scoring = self._way_to_score(name, words, least_mass)
        self.calibration = calibration or self.scoring.default_calibration
        if calibration is None and card is not None and card.scoring == name:
            self.calibration = card.calibrations.get(self.scenario, self.calibration)

    def _way_to_score(self, name: str, words: Words, least_mass: float) -> ScoringMethod:
        # What a model cannot do, its `scoring_name` has refused.
        if name == "label":
            return LabelScoring(self.model, words, least_mass)
        if name == "answer":
            return AnswerScoring(cast("Server", self.model), words)
        from llm_oracle.scoring.likelihood import LikelihoodScoring

        model = cast("LanguageModel", self.model)
        return LikelihoodScoring(model, words, self.max_history, self.cache)

    def describe(self) -> dict[str, Any]:
        """Returns what decides what the scores mean, JSON-able; a calibration is for it alone."""
        about = {
            **self.model.describe(),
            "scoring": self.scoring.name,
            "template": TEMPLATE_VERSIONS[self.scoring.name],
            "max_history": self.max_history,
        }
        # The precision that suits a machine moves scores by rounding, which no calibration sees.
        about.pop("dtype", None)
        return about

    def __deepcopy__(self, memo: dict[int, Any]) -> LanguageModelJudge:
        """Returns itself: verdicts do not change a judge, and its model may fill the memory."""
        return self

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`llm_oracle.judge.Judge.choose`.

        Raises:
            JudgeError: also for an answer that is no verdict, and for a server that gives none.
        """
        scores = self.scores(histories, slates, users)
        return self.calibration.choose(scores, self.counts[slates])

    def probabilities(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> Float32Array:
        """Returns the probability of each candidate and, last, of "None of them", (B, k + 1).

        The arguments and errors are those of :meth:`choose`.
        """
        scores = self.scores(histories, slates, users)
        utilities = self.calibration.utilities(scores, self.counts[slates])
        odds = np.exp(utilities - utilities.max(axis=1, keepdims=True))
        result: Float32Array = odds / odds.sum(axis=1, keepdims=True)
        return result

    def scores(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> Float32Array:
        """Returns the model's score of each candidate before calibration, in nats, (B, k).

        The arguments and errors are those of :meth:`choose`.
        """
        questions = self.questions(histories, slates, users)
        scores = np.empty(slates.shape, dtype=np.float32)
        new = []
        for row, question in enumerate(questions):
            known = None if self.cache is None else self.cache.get(self._key(question))
            if known is None:
                new.append(row)
            else:
                check_finite(known, f"a verdict in {self.cache and self.cache.file}")
                scores[row] = known
        if new:
            for number, fresh in self.scoring.scores([questions[row] for row in new]):
                row = new[number]
                if self.cache is not None:
                    fresh = self.cache.put(self._key(questions[row]), fresh)
                scores[row] = fresh
        return scores

    def questions(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> list[Question]:
        """Puts rows into words.

        The arguments and errors are those of :meth:`choose`.

        Raises:
            ValueError: also if a prompt is too long even without any history.
        """
        check_request(self.n_items, histories, slates)
        pasts = [row[row < self.n_items][-self.max_history :] for row in histories]
        about = [""] * len(pasts)
        if users is not None and self.scoring.words.users:
            about = [self.scoring.words.users[user] for user in users]
        build = self.scoring.question
        return [build(*row) for row in zip(pasts, slates, about, strict=True)]

    def _key(self, question: Question) -> str:
        return question_key(self.scoring.example + question.prompt, question.options)
