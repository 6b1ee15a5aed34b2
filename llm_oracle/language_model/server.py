"""A language model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, hosted ones."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from llm_oracle.judge import JudgeError
from llm_oracle.language_model.adapters import AdapterCard
from llm_oracle.language_model.connection import Connection, ServerError, check_address, excerpt
from llm_oracle.language_model.evidence import (
    LabelAnswer,
    check_answer,
    label_of,
    read_labels,
    said,
)
from llm_oracle.language_model.server_form import CHAT_INSTRUCTION, RequestForm
from recsim_envs.notices import logger

Answer = TypeVar("Answer")
READING = "2"
"""Version of how answers are read; keys the cache. What version 1 stored may lack evidence."""
BETWEEN_REPORTS = 30.0
TOO_LONG = ("context length", "context size", "context_length", "context window", "max_new_tokens")


class Server:
    """One model of a server.

    A request asks for one token. Three shapes of answers are read: completions with tokens and
    log-probabilities as pairs (OpenAI, vLLM), completions with a list of tokens (llama.cpp), and
    chats. What a server refuses is tried another way, on the first question only: fewer
    log-probabilities (20, 5, 1), and ``max_completion_tokens`` for ``max_tokens``. vLLM is asked
    for the labels' own tokens (``logprob_token_ids``), so that none is missing.

    Args:
        url: "http://localhost:8000/v1" for completions of a text; ending in "/chat/completions"
            for a chat, which is all that most hosted models offer.
        model: the name under which the server knows the model.
        api_key: see :class:`~llm_oracle.language_model.connection.Connection`, as what follows.
        concurrency: requests at the same time.
        timeout: seconds.
        retries: of a request.
        backoff: seconds.
        max_requests: how many may be sent in all.
        top: log-probabilities to ask for; vLLM allows 20 unless started with --max-logprobs.
        dollars_per_million_tokens: price of what is sent and received, to show what is spent.

    Raises:
        DataError: for a bad ``url`` or key.
    """

    item_length = 80
    user_length = 80
    prompt_length = 8000

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 16,
        timeout: float = 60.0,
        retries: int = 8,
        backoff: float = 0.5,
        max_requests: int | None = None,
        top: int = 20,
        dollars_per_million_tokens: float | None = None,
    ) -> None:
        check_address(url)
        url = url.rstrip("/")
        self.url = url if url.endswith("/completions") else f"{url}/completions"
        self.model = model
        self.label = f"{model.split('/')[-1]}/server"
        self.card: AdapterCard | None = None
        self.top = top
        self.form = RequestForm(self.url, model, top)
        self.price = dollars_per_million_tokens
        self.tokens = 0
        self.connection = Connection(
            self.url, api_key, concurrency, timeout, retries, backoff, max_requests
        )
        self._concurrency = concurrency
        self._settled = False  # whether the server has answered a question in this form
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._next_report = self._start + BETWEEN_REPORTS

    def describe(self) -> dict[str, Any]:
        """Returns what decides this model's answers, JSON-able; keys the cache.

        What stands behind a server's name only its operator knows; so the address counts too.
        """
        about = {"model": self.model, "server": self.url, "top": self.top, "reading": READING}
        return about | ({"instruction": CHAT_INSTRUCTION} if self.form.chat else {})

    def length(self, prompt: str) -> int:
        """Returns the number of a prompt's characters."""
        return len(prompt)

    def cut(self, texts: Sequence[str], length: int) -> list[str]:
        """Cuts texts after ``length`` characters."""
        return [text[:length].rstrip() for text in texts]

    def scoring_name(self, asked: str | None) -> str:
        """Returns the way to score: the one that was asked for, by default "label".

        Raises:
            ValueError: for a way to score that needs a model in this process.
        """
        if asked not in (None, "label", "answer"):
            raise ValueError(f"scoring={asked!r}: a server's model scores by 'label' or 'answer'")
        return asked or "label"

    def beginning(self, prompts: Sequence[str]) -> None:
        """Nothing: a server keeps what prompts begin with by itself."""

    def label_answers(
        self, prompts: Sequence[str], labels: Sequence[str], least_mass: float, beginning: None
    ) -> Iterator[tuple[int, LabelAnswer]]:
        """See :class:`llm_oracle.scoring.label.LabelModel`.

        Raises:
            ServerError: if a question failed; those that were under way are yielded before.
        """

        def read(prompt: str, stop: threading.Event) -> LabelAnswer:
            choice = self._ask(prompt, labels, True, stop)
            try:
                likeliest = self.form.likeliest(choice, prompt)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise ServerError(
                    f"{self.url} sent no log-probabilities but {excerpt(json.dumps(choice))}: end "
                    "the judge's address in /v1/chat/completions, or its model's name in @answer"
                ) from error
            answer = read_labels(likeliest, labels)
            check_answer(answer, least_mass, repr(self.model), lambda: said(likeliest))
            return answer

        return self._each(prompts, labels, read)

    def chosen_labels(
        self, prompts: Sequence[str], labels: Sequence[str]
    ) -> Iterator[tuple[int, str]]:
        """Yields the number of each prompt and the label that the model writes, as they come.

        Raises:
            ServerError: as :meth:`label_answers`, and if the model writes something else.
        """

        def read(prompt: str, stop: threading.Event) -> str:
            choice = self._ask(prompt, labels, False, stop)
            text = self.form.written(choice, prompt)
            label = label_of(text)
            if label not in labels:
                raise ServerError(
                    f"{self.model!r} answered {text[:100]!r}, none of the labels "
                    f"{'/'.join(labels)}: use a model that follows the prompt"
                )
            return label

        return self._each(prompts, labels, read)

    def spent(self) -> str:
        """Returns in few words what was sent so far, how fast, and at what cost."""
        requests = self.connection.requests
        seconds = max(time.monotonic() - self._start, 1e-9)
        text = f"{requests} requests, {requests / seconds:.1f}/s, {self.tokens / 1000:.1f}k tokens"
        if self.price is None or not requests:
            return text
        dollars = self.tokens * self.price / 1e6
        return f"{text}, ${dollars:.2f}, ${1000 * dollars / requests:.2f} per 1,000 requests"

    def _each(
        self,
        prompts: Sequence[str],
        labels: Sequence[str],
        read: Callable[[str, threading.Event], Answer],
    ) -> Iterator[tuple[int, Answer]]:
        """Asks everything in threads; the first question alone settles the form of the rest."""
        stop = threading.Event()
        failures: list[JudgeError] = []

        def job(prompt: str) -> Answer | None:
            return None if stop.is_set() else read(prompt, stop)

        numbers = range(len(prompts))
        rounds = [numbers] if self._settled else [numbers[:1], numbers[1:]]
        if numbers and not self._settled:
            self.form.learn_labels(labels, lambda body, url: self.connection.post(body, stop, url))
        for part in rounds:
            with ThreadPoolExecutor(self._concurrency) as pool:
                jobs = {pool.submit(job, prompts[number]): number for number in part}
                try:
                    for done in as_completed(jobs):
                        try:
                            answer = done.result()
                        except JudgeError as error:
                            failures.append(error)
                            stop.set()
                        else:
                            if answer is not None:
                                yield jobs[done], answer
                except BaseException:
                    stop.set()  # else nobody could leave before the pauses are over
                    raise
            if failures:
                raise ServerError(
                    f"{len(failures)} of {len(prompts)} questions failed: {failures[0]}"
                )
            self._settled = self._settled or len(part) > 0

    def _ask(
        self, prompt: str, labels: Sequence[str], log_probs: bool, stop: threading.Event
    ) -> dict[str, Any]:
        """Returns the server's answer to one question."""
        while True:
            status, text = self.connection.post(self.form.body(prompt, labels, log_probs), stop)
            if status not in (400, 422) or self._settled or not self.form.adapt(text):
                break
        if status != 200:
            fix = ""
            if any(words in text.lower() for words in TOO_LONG):
                fix = f": the prompt has {len(prompt)} characters, lower max_prompt_length"
            elif status == 404 and not self.form.chat:
                fix = ": for a model that only chats, end the address in /v1/chat/completions"
            raise ServerError(f"{self.url} answered {status}: {excerpt(text)}{fix}")
        try:
            answer = json.loads(text)
            choice: dict[str, Any] = dict(answer["choices"][0])
        except (ValueError, LookupError, TypeError) as error:
            raise ServerError(f"{self.url} sent no answer but {excerpt(text)}") from error
        with self._lock:
            self.tokens += int((answer.get("usage") or {}).get("total_tokens") or 0)
            report = time.monotonic() > self._next_report
            if report:
                self._next_report = time.monotonic() + BETWEEN_REPORTS
        if report:
            logger.info(f"{self.label}: {self.spent()}")
        return choice
