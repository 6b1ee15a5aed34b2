"""A language model behind an OpenAI-compatible server (vLLM, llama.cpp, ...) as the judge."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import urllib3
from numpy.typing import ArrayLike
from urllib3.util import Retry, Timeout

from llm_oracle.item_texts import item_texts
from llm_oracle.language_judge import Calibration, LanguageModelJudge, Question
from llm_oracle.prompts import sanitize
from recsim_envs.arrays import Float32Array
from recsim_envs.data.dataset import Dataset

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that is busy, starting or broken for the moment."""


class ServerError(RuntimeError):
    """The server refused a question, stayed silent, or answered what cannot be read."""


class ServerJudge(LanguageModelJudge):
    """Asks Table 1's question, one request a prompt, and reads the labels' log-probabilities.

    A request asks ``/v1/completions`` for one token and the log-probabilities of the ``top``
    likeliest ones. A label that is not among them is given the smallest one returned, an upper
    bound of its own: the pick is the same as long as one of the labels is among them.

    Requests run in threads. One that meets an overloaded or failing server (408, 425, 429, 5xx), a
    timeout or a cut connection is sent again after a pause that doubles each time, with jitter, or
    after the pause that the server names in Retry-After. Every answer is stored in the cache as it
    comes, so that not even a failure for good loses the others.

    Args:
        dataset: the catalogue, its texts, and the scenario that decides the wording.
        base_url: of the server, such as "http://localhost:8000/v1".
        model: the name under which the server knows the model.
        calibration: default the likeliest label wins, as in the paper.
        counts: (n_items,) popularity of the items, for a calibration that uses it, and to see whose
            words are vouched for (:mod:`llm_oracle.item_texts`); default ``dataset.popularity``.
        max_history: older items are not shown.
        max_item_chars: longer item texts are cut.
        max_prompt_chars: a longer prompt loses its oldest items, never a candidate.
        seed: shuffles the labels.
        cache: file of stored verdicts, see :class:`llm_oracle.cache.VerdictCache`; default none.
        api_key: sent as a bearer token.
        concurrency: requests at the same time.
        timeout: seconds until an answer must have come.
        retries: how often a question is sent again before it fails for good.
        backoff: seconds of the first pause; no pause is longer than a minute.
        top: log-probabilities to ask for; vLLM allows 20 unless started with --max-logprobs.

    Raises:
        ValueError: for a ``base_url`` that is not one, or holds a user or password.
    """

    def __init__(
        self,
        dataset: Dataset,
        base_url: str,
        model: str,
        *,
        calibration: Calibration | None = None,
        counts: ArrayLike | None = None,
        max_history: int = 6,
        max_item_chars: int = 80,
        max_prompt_chars: int = 8000,
        seed: int = 0,
        cache: str | Path | None = None,
        api_key: str | None = None,
        concurrency: int = 16,
        timeout: float = 60.0,
        retries: int = 8,
        backoff: float = 0.5,
        top: int = 20,
    ) -> None:
        check_address(base_url)
        self.url = base_url.rstrip("/") + "/completions"
        self.model = model
        self.name = f"{Path(model).name}/server"
        self.top = top
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        retry = Retry(
            total=retries,
            allowed_methods=None,  # a question has no side effect: POST may be repeated
            status_forcelist=TRANSIENT,
            backoff_factor=backoff,
            backoff_jitter=backoff,
            backoff_max=60.0,
            raise_on_status=False,
        )
        self._http = urllib3.PoolManager(
            maxsize=concurrency, retries=retry, timeout=Timeout(total=timeout)
        )
        self._concurrency = concurrency
        texts = _cut(item_texts(dataset, counts), max_item_chars)
        user_texts = [] if dataset.users is None else _cut(dataset.users["text"], max_item_chars)
        super().__init__(
            dataset,
            (texts, user_texts),
            "label",
            calibration or Calibration(),
            counts,
            max_history,
            max_prompt_chars,
            seed,
            cache,
        )

    def describe(self) -> dict[str, Any]:
        """See :meth:`llm_oracle.language_judge.LanguageModelJudge.describe`.

        What stands behind a server's name only its operator knows; so the address counts too.
        """
        return {"model": self.model, "server": self.url, "top": self.top}

    def _answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        failures = []
        with ThreadPoolExecutor(self._concurrency) as pool:
            jobs: dict[Future[Float32Array], int] = {
                pool.submit(self._ask, question): number
                for number, question in enumerate(questions)
            }
            for job in as_completed(jobs):
                try:
                    values = job.result()
                except ServerError as error:
                    failures.append(error)
                else:
                    yield jobs[job], values
        if failures:
            raise ServerError(
                f"{len(failures)} of {len(questions)} questions failed: {failures[0]}"
            )

    def _length(self, prompt: str) -> int:
        return len(prompt)

    def _ask(self, question: Question) -> Float32Array:
        """Returns the log-probability of each label, (k + 1,)."""
        request = {
            "model": self.model,
            "prompt": question.prompt,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": self.top,
        }
        try:
            answer = self._http.request(
                "POST", self.url, body=json.dumps(request), headers=self._headers
            )
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{self.url} gave no answer: {error}") from error
        if answer.status != 200:
            raise ServerError(f"{self.url} answered {answer.status}: {_excerpt(answer.data)}")
        try:
            likeliest = _top_log_probs(json.loads(answer.data)["choices"][0]["logprobs"])
        except (ValueError, LookupError, TypeError) as error:
            raise ServerError(
                f"{self.url} sent no log-probabilities of tokens: {_excerpt(answer.data)}"
            ) from error
        found: dict[str, float] = {}
        for token, log_prob in likeliest:
            label = token.strip()
            found[label] = max(log_prob, found.get(label, -math.inf))
        if not any(label in found for label in question.options):
            labels, tokens = "/".join(question.options), [token for token, _ in likeliest]
            raise ServerError(
                f"{self.model!r} has none of the labels {labels} among its likeliest tokens "
                f"{tokens}: raise top, or use a model that follows the prompt"
            )
        least = min(found.values())
        return np.array([found.get(label, least) for label in question.options], dtype=np.float32)


def check_address(url: str) -> None:
    """Refuses what is no server's address, or holds a secret: addresses are written to files.

    Raises:
        ValueError: for a URL of another kind, or with a user or password, which is not repeated.
    """
    if "@" in urlsplit(url).netloc:
        raise ValueError(
            "the judge's URL holds a user or password, and URLs are written to records and caches: "
            "leave it out, and put a key into the environment variable OPENAI_API_KEY"
        )
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"base_url={url!r}: give one such as 'http://localhost:8000/v1'")


def _top_log_probs(log_probs: dict[str, Any]) -> list[tuple[str, float]]:
    """Reads the first token's likeliest alternatives, in either form that servers use."""
    if "content" in log_probs:  # as in chat completions: llama.cpp
        entries = log_probs["content"][0]["top_logprobs"]
        return [(str(entry["token"]), float(entry["logprob"])) for entry in entries]
    entries = log_probs["top_logprobs"][0]
    return [(str(token), float(value)) for token, value in entries.items()]


def _excerpt(data: bytes) -> str:
    return data.decode(errors="replace")[:300]


def _cut(texts: Iterable[str], max_chars: int) -> list[str]:
    return [sanitize(text, max_chars) for text in texts]
