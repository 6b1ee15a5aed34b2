"""Sends requests to one server: with a key, with patience, and with a count of what it costs."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.util import Retry, Timeout

from llm_oracle.judge import JudgeError
from recsim_envs.errors import DataError
from recsim_envs.notices import logger

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that is busy, starting or broken for the moment."""
LONGEST_PAUSE = 60.0
CONNECT_SECONDS = 5.0
BETWEEN_NOTICES = 5.0


class ServerError(JudgeError):
    """The server refused a question, stayed silent, or answered what cannot be read."""


class Connection:
    """A server's address, and how to reach it.

    A request that meets an overloaded or failing server (408, 425, 429, 5xx), a timeout or a cut
    connection is sent again after a pause that doubles each time, with jitter, or that the server
    names in Retry-After; no pause is longer than a minute. What is being waited for is said on
    standard error.

    Args:
        url: of the requests.
        api_key: sent as a bearer token, and shown nowhere; white space around it is dropped.
        concurrency: requests at the same time.
        timeout: seconds until an answer must have come; a connection must stand after five.
        retries: how often a request is sent again before it fails for good.
        backoff: seconds of the first pause.
        max_requests: requests that may be sent in all, those sent again included; None sets no end.

    Attributes:
        url: as given.
        requests: how many were sent.

    Raises:
        DataError: for a key that no header can hold.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        concurrency: int,
        timeout: float,
        retries: int,
        backoff: float,
        max_requests: int | None,
    ) -> None:
        self.url = url
        self.requests = 0
        self._key = (api_key or "").strip()
        self._headers = {"Content-Type": "application/json"}
        if self._key:
            if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
                raise DataError(
                    "the server's key holds white space or characters that no header can hold: "
                    "check the environment variable that it comes from"
                )
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._retries, self._backoff, self._max_requests = retries, backoff, max_requests
        self._http = urllib3.PoolManager(
            maxsize=concurrency,
            timeout=Timeout(connect=min(timeout, CONNECT_SECONDS), total=timeout),
        )
        self._lock = threading.Lock()
        self._next_notice = 0.0

    def post(
        self, body: dict[str, Any], stop: threading.Event, url: str | None = None
    ) -> tuple[int, str]:
        """Sends a request until it is answered; returns the answer's status and text.

        Args:
            body: JSON-able.
            stop: ends the waiting once it is set.
            url: default the connection's; another one is tried once.

        Raises:
            ServerError: if no answer came, or no more requests may be sent.
        """
        tries = 1 + (self._retries if url is None else 0)
        url = url or self.url
        for number in range(1, tries + 1):
            self._count()
            pause = min(self._backoff * 2 ** (number - 1), LONGEST_PAUSE)
            pause += random.uniform(0, self._backoff)
            asked = ""
            try:
                answer = self._http.request(
                    "POST",
                    url,
                    body=json.dumps(body),
                    headers=self._headers,
                    retries=False,
                    redirect=False,
                )
            except urllib3.exceptions.HTTPError as error:
                trouble = f"{url} gave no answer: {error}"
            else:
                text = answer.data.decode(errors="replace").replace(self._key or "\0", "***")
                status = _real_status(answer.status, text)
                if status not in TRANSIENT:
                    return status, text
                trouble = f"{url} answered {status}: {excerpt(text)}"
                named = _retry_after(answer.headers.get("Retry-After"))
                if named is not None:
                    pause = min(named, LONGEST_PAUSE)
                    asked = f" (it asks for {named:.0f} s)"
            if number < tries:
                self._notice(f"{trouble}; try {number + 1} of {tries} in {pause:.1f} s{asked}")
                if stop.wait(pause):
                    break
        raise ServerError(trouble)

    def _count(self) -> None:
        with self._lock:
            if self._max_requests is not None and self.requests >= self._max_requests:
                raise ServerError(
                    f"{self.requests} requests are sent, as many as max_requests allows: raise it "
                    "to go on, a cache keeps the verdicts so far"
                )
            self.requests += 1

    def _notice(self, text: str) -> None:
        """Says what is waited for, but not once a thread and try."""
        with self._lock:
            if time.monotonic() < self._next_notice:
                return
            self._next_notice = time.monotonic() + BETWEEN_NOTICES
        logger.warning(text)


def excerpt(text: str) -> str:
    """The beginning of an answer, on one line."""
    return " ".join(text.split())[:300]


def check_address(url: str) -> None:
    """Refuses what is no server's address, or may hold a secret: addresses are written to files.

    Raises:
        DataError: for a URL of another kind; or one with a user, a password or parameters, which is
            not repeated.
    """
    address = url.split("#")[0]
    try:
        port_is_number = urlsplit(address).port != 0
    except ValueError:  # "http://user:pass#word@host" looks like a port too
        port_is_number = False
    if "@" in address or "?" in address or not port_is_number:
        raise DataError(
            "the judge's URL holds a user, a password, parameters or a port that is no number; "
            "URLs are written to records and caches: leave them out, and put a key into the "
            "environment variable OPENAI_API_KEY or the one that --api-key-env names"
        )
    if not address.startswith(("http://", "https://")) or not urlsplit(address).netloc:
        raise DataError(f"base_url={url!r}: give one such as 'http://localhost:8000/v1'")


def _real_status(status: int, text: str) -> int:
    """The status of an answer; some servers and gateways send 200 with an error in it."""
    if status != 200:
        return status
    try:
        answer = json.loads(text)
    except ValueError:
        return status
    if not isinstance(answer, dict):
        return status
    error = answer.get("error") or (answer if answer.get("object") == "error" else None)
    if not error:
        return status
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and code != 200 else 400


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header names, in either of its forms."""
    if value is None:
        return None
    try:
        return Retry().parse_retry_after(value)
    except urllib3.exceptions.InvalidHeader:
        return None
