"""What all judges that read text have in common: questions, calibration, verdict cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from llm_oracle.cache import VerdictCache, question_key
from llm_oracle.judge import NONE, check_request, item_counts
from llm_oracle.prompts import (
    LABELS,
    TEMPLATE_VERSION,
    label_order,
    label_prompt,
    list_example,
    list_prompt,
)
from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.data.dataset import Dataset

Scoring = Literal["label", "likelihood"]
Quantization = Literal["nf4"]
Texts = tuple[list[str], list[str]]
"""Sanitized texts of the items, and of the users (empty where the data describes none)."""


@dataclass(frozen=True)
class Calibration:
    """From a judge's scores to choice probabilities: a conditional logit model (McFadden, 1974).

    Candidate i of a slate has the utility ``scale * score_i + popularity * log(1 + count_i)``,
    "None of them" has the utility ``none``; the probabilities are the softmax of the k + 1
    utilities, and the verdict is the likeliest. The paper takes the likeliest label: the defaults.

    Attributes:
        scale: of the score, in 1 / nats.
        popularity: weight of the log of an item's popularity; 0 ignores it.
        none: utility of "None of them".
    """

    scale: float = 1.0
    popularity: float = 0.0
    none: float = 0.0


@dataclass(frozen=True)
class Question:
    """One row of a request, as the model gets it.

    Attributes:
        prompt: what the model reads.
        options: the texts whose log-probabilities after the prompt are wanted.
        items: (k,) the candidates' ids, in the slate's order.
        order: (k,) option i belongs to ``items[order[i]]``.
    """

    prompt: str
    options: tuple[str, ...]
    items: IntArray
    order: IntArray


class LanguageModelJudge(ABC):
    """Asks a language model about each row, and never twice where it has a cache.

    Two ways to ask, both scored in nats:

    - ``"label"`` (the paper's): Table 1's prompt; the log-probability of the candidate's label less
      that of the label of "None of them". Needs a model that binds labels to options: 7B parameters
      do, 135M do not.
    - ``"likelihood"``: the log-likelihood of the candidate's text as the next line of the list of
      the user's items, less the same for an unknown user's list that has not begun: by how much
      this user's past makes the text more likely. Works with small models.

    Subclasses reach the model; see :class:`llm_oracle.transformers_judge.TransformersJudge` and
    :class:`llm_oracle.server_judge.ServerJudge` for the arguments.
    """

    name: str

    def __init__(
        self,
        dataset: Dataset,
        texts: Texts,
        scoring: Scoring,
        calibration: Calibration,
        counts: ArrayLike | None,
        max_history: int,
        max_prompt: int,
        seed: int,
        cache: str | Path | None,
    ) -> None:
        if max_history < 1:
            raise ValueError(f"max_history={max_history}: show the judge at least one item")
        self.n_items = dataset.n_items
        self.scenario = dataset.scenario
        self.texts, self.user_texts = texts
        self.scoring: Scoring = scoring
        self.calibration = calibration
        self.counts = item_counts(dataset, counts)
        self.max_history = max_history
        self.max_prompt = max_prompt
        self.seed = seed
        self.example = ""
        if scoring == "likelihood":
            size = min(max_history, self.n_items)
            items = np.random.default_rng(seed).choice(self.n_items, size, replace=False)
            self.example = list_example(self.scenario, [self.texts[item] for item in items])
        self.cache = None
        if cache is not None:
            about = {**self.describe(), "scoring": scoring, "template": TEMPLATE_VERSION}
            self.cache = VerdictCache(cache, about)

    def __deepcopy__(self, memo: dict[int, Any]) -> LanguageModelJudge:
        """Returns itself: verdicts do not change a judge, and its model may fill the memory."""
        return self

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what decides an answer besides the question, JSON-able; keys the cache.

        "model" is the model's name.
        """

    @abstractmethod
    def _answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        """Yields the number of a question and its options' values, in any order, as they come.

        The values are log-probabilities, (k + 1,) for "label" and (k,) for "likelihood", the latter
        less the candidates' priors.
        """

    @abstractmethod
    def _length(self, prompt: str) -> int:
        """The length of a prompt in the unit of ``max_prompt``."""

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`llm_oracle.judge.Judge.choose`."""
        utilities = self._utilities(histories, slates, users)
        best, none = utilities[:, :-1], utilities[:, -1]
        return np.where(best.max(axis=1) > none, best.argmax(axis=1), NONE).astype(np.int64)

    def probabilities(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> Float32Array:
        """Returns the probability of each candidate and, last, of "None of them", (B, k + 1).

        The arguments and errors are those of :meth:`choose`.
        """
        utilities = self._utilities(histories, slates, users)
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
                scores[row] = known
        for number, values in self._answer([questions[row] for row in new]):
            row = new[number]
            fresh = values if self.scoring == "likelihood" else values[:-1] - values[-1]
            question = questions[row]
            by_slate = np.empty_like(fresh)
            by_slate[question.order] = fresh
            if self.cache is not None:
                by_slate = self.cache.put(self._key(question), by_slate)
            scores[row] = by_slate
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
        if users is not None and self.user_texts:
            about = [self.user_texts[user] for user in users]
        build = self._label_question if self.scoring == "label" else self._likelihood_question
        return [build(*row) for row in zip(pasts, slates, about, strict=True)]

    def _label_question(self, past: IntArray, slate: IntArray, user: str) -> Question:
        order = label_order(self.seed, past, slate)
        shown = [self.texts[item] for item in slate[order]]
        prompt = self._fitted(
            past, partial(label_prompt, self.scenario, candidates=shown, user=user)
        )
        return Question(prompt, tuple(LABELS[: len(slate) + 1]), slate, order)

    def _likelihood_question(self, past: IntArray, slate: IntArray, user: str) -> Question:
        prompt = self._fitted(past, partial(list_prompt, self.scenario, user=user))
        options = tuple(f" {self.texts[item]}\n" for item in slate)
        return Question(prompt, options, slate, np.arange(len(slate)))

    def _fitted(self, past: IntArray, build: Callable[[list[str]], str]) -> str:
        """Builds a prompt, without its oldest items where it would be too long."""
        for start in range(len(past) + 1):
            prompt = build([self.texts[item] for item in past[start:]])
            length = self._length(prompt)
            if length <= self.max_prompt:
                return prompt
        raise ValueError(
            f"the prompt has length {length} without any history, more than the limit of "
            f"{self.max_prompt}: raise the limit or cut the item texts shorter"
        )

    def _key(self, question: Question) -> str:
        return question_key(self.example + question.prompt, question.options)

    def _utilities(
        self, histories: IntArray, slates: IntArray, users: IntArray | None
    ) -> Float32Array:
        """Utilities (B, k + 1), that of "None of them" last."""
        rule = self.calibration
        scores = self.scores(histories, slates, users)
        chosen = rule.scale * scores + rule.popularity * np.log1p(self.counts[slates])
        none = np.full((len(slates), 1), rule.none)
        result: Float32Array = np.hstack([chosen, none]).astype(np.float32)
        return result
