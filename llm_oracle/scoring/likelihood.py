"""Scoring by likelihood: how much likelier does the user's past make a candidate's text?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from llm_oracle.cache import VerdictCache, question_key
from llm_oracle.calibration import Calibration
from llm_oracle.language_model.evidence import check_finite
from llm_oracle.language_model.passes import SharedPrefix, packed_log_likelihoods
from llm_oracle.texts.prompts import list_example, list_prompt
from llm_oracle.texts.questions import Question, Words
from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.data.wording import Scenario

if TYPE_CHECKING:
    from llm_oracle.language_model.local import LanguageModel

# Measured with SmolLM2 and k = 10: share of "None of them" on slates with / without the true next
# item, LFM-1M 0.28 / 0.65, Industry 0.38 / 0.57, Coat 0.52 / 0.56 (its short texts say less).
CALIBRATIONS: dict[Scenario, Calibration] = {
    "music": Calibration(none=8.0),
    "products": Calibration(none=8.0),
    "clothes": Calibration(none=4.0),
}


class LikelihoodScoring:
    """A candidate's score is the gain of its text's log-likelihood over an unknown user's list.

    The text is read as the next line of the list of the user's items; the prior is the same for a
    list that has not begun. Works with small models.

    Args:
        model: reads the texts.
        words: what prompts are made of; its seed draws the items of the example list.
        max_history: items of the example list.
        cache: the judge's, beside which the priors are kept.

    Attributes:
        name: of this way to score.
        example: what stands before every prompt.
        default_calibration: for a model without an adapter, by measurement; not in the paper.
    """

    name = "likelihood"

    def __init__(
        self, model: LanguageModel, words: Words, max_history: int, cache: VerdictCache | None
    ) -> None:
        self.words = words
        self.default_calibration = CALIBRATIONS[words.scenario]
        self.masses = (0.0, 0)
        self._model = model
        n_items = len(words.items)
        size = min(max_history, n_items)
        items = np.random.default_rng(words.seed).choice(n_items, size, replace=False)
        self.example = list_example(words.wording, [words.items[item] for item in items])
        nobody = list_prompt(words.wording, [])
        # What follows the dash that ends a list prompt.
        self._lines: list[list[int]] = model.tokenizer(
            [f" {text}\n" for text in words.items],
            add_special_tokens=False,
            split_special_tokens=True,
        )["input_ids"]
        self.example_tokens = model.tokens(self.example)
        self._after_example = SharedPrefix(model.model, self.example_tokens)
        *begun, self._dash = model.tokens(nobody, begins=False)
        # The prior is the bare model's, so that tuning has a fixed point to move away from.
        with model.bare():
            self._empty_list = SharedPrefix(model.model, [*self.example_tokens, *begun])
        # Filled as items are met: a catalogue is large, and a policy visits little of it.
        self._prior = np.full(n_items, np.nan, dtype=np.float32)  # (n_items,)
        self._nobody = self.example + nobody
        self._cache = None
        if cache is not None:
            about = {**cache.judge, "adapter": None, "scoring": "prior"}
            self._cache = VerdictCache(cache.file, about)

    def question(self, past: IntArray, slate: IntArray, user: str) -> Question:
        """See :meth:`llm_oracle.scoring.label.LabelScoring.question`."""
        prompt = self.words.fitted(past, partial(list_prompt, self.words.wording, user=user))
        options = tuple(f" {self.words.items[item]}\n" for item in slate)
        return Question(prompt, options, slate, np.arange(len(slate)))

    def scores(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        """See :meth:`llm_oracle.scoring.label.LabelScoring.scores`."""
        priors = self.priors(np.stack([question.items for question in questions]))
        for number, question in enumerate(questions):
            likelihoods = self._after_example.log_likelihoods(*self.tokens(question))
            scores: Float32Array = likelihoods - priors[number]
            check_finite(scores, repr(self._model.name))
            yield number, scores

    def training_scores(self, model: LanguageModel, question: Question) -> torch.Tensor:
        """See :meth:`llm_oracle.scoring.label.LabelScoring.training_scores`."""
        prompt, lines = self.tokens(question)
        likelihoods = packed_log_likelihoods(model.model, [*self.example_tokens, *prompt], lines)
        return likelihoods - torch.from_numpy(self.priors(question.items)).to(likelihoods)

    def tokens(self, question: Question) -> tuple[list[int], list[list[int]]]:
        """Tokenizes a question: what follows the example list, and each candidate's line."""
        prompt = self._model.tokens(question.prompt, begins=False)
        return prompt, [self._lines[item] for item in question.items]

    def priors(self, items: IntArray) -> Float32Array:
        """Returns the log-likelihood of items' texts for an unknown user, in nats, as ``items``."""
        store, new = self._cache, []
        for item in np.unique(items[np.isnan(self._prior[items])]):
            stored = None if store is None else store.get(self._prior_key(item))
            if stored is None:
                new.append(item)
            else:
                self._prior[item] = stored[0]
        if new:
            lines = [self._lines[item] for item in new]
            with self._model.bare():
                found = self._empty_list.log_likelihoods_apart([self._dash], lines)
            check_finite(found, repr(self._model.name))
            self._prior[new] = found
        if store is not None:
            for item in new:
                self._prior[item] = store.put(self._prior_key(item), self._prior[item, None])[0]
        result: Float32Array = self._prior[items]
        return result

    def _prior_key(self, item: int) -> str:
        return question_key(self._nobody, [f" {self.words.items[item]}\n"])
