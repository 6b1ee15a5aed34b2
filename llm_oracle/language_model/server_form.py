"""The forms in which OpenAI-compatible servers want to be asked, and answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from llm_oracle.judge import JudgeError
from llm_oracle.language_model.evidence import label_of
from llm_oracle.texts.prompts import LAST_WORD
from recsim_envs.notices import logger

CAPS = (1, 5, 20)
"""Of the log-probabilities a request: some hosted completions; theirs of OpenAI, and TGI; vLLM and
chats of OpenAI."""
CHAT_INSTRUCTION = "Answer with the small letter of one option and with nothing else."


class RequestForm:
    """What a server is sent, changed by what it refuses.

    Args:
        url: of the requests; a chat's ends in "/chat/completions".
        model: the name under which the server knows the model.
        top: log-probabilities to ask for.

    Attributes:
        chat: whether it is a chat.
    """

    def __init__(self, url: str, model: str, top: int) -> None:
        self.chat = url.endswith("/chat/completions")
        self._url, self._model, self._top = url, model, top
        self._limit = "max_tokens"
        self._cap = top
        self._label_ids: dict[str, int] = {}  # by label, where the server knows them

    def body(self, prompt: str, labels: Sequence[str], log_probs: bool) -> dict[str, Any]:
        """Builds a request for one token.

        Args:
            prompt: the question.
            labels: that may be answered.
            log_probs: whether log-probabilities are wanted, or the answer alone.
        """
        body: dict[str, Any] = {"model": self._model, self._limit: 1, "temperature": 0}
        if self.chat:
            roles = (("system", CHAT_INSTRUCTION), ("user", prompt))
            body["messages"] = [{"role": role, "content": text} for role, text in roles]
        else:
            body["prompt"] = prompt
        ids = [self._label_ids[label] for label in labels if label in self._label_ids]
        ids = ids if len(ids) == len(labels) else []
        if log_probs:
            body |= {"logprobs": True, "top_logprobs": self._cap} if self.chat else {}
            body.setdefault("logprobs", self._cap)
            if ids:
                body |= {"logprob_token_ids": ids, "return_tokens_as_token_ids": True}
        elif ids:
            body["structured_outputs"] = {"choice": [f" {label}" for label in labels]}
        return body

    def adapt(self, refusal: str) -> bool:
        """Changes the requests to what a refusal asks for; False if it asks for nothing known."""
        text = refusal.lower()
        lower = [cap for cap in CAPS if cap < self._cap]
        if self._label_ids and ("logprob_token_ids" in text or "structured_outputs" in text):
            self._label_ids = {}
        elif self._limit == "max_tokens" and "max_completion_tokens" in text:
            self._limit = "max_completion_tokens"
        elif "logprob" in text and lower:
            self._cap = max(lower)
            logger.warning(
                f"{self._url} refused {self._top} log-probabilities a question; asking for "
                f"{self._cap}, and estimating the labels that are not among them"
            )
        else:
            return False
        return True

    def learn_labels(
        self, labels: Sequence[str], post: Callable[[dict[str, Any], str], tuple[int, str]]
    ) -> None:
        """Asks vLLM, which alone has this form of /tokenize, for the tokens of the labels.

        Only for completions: what a chat's answer begins with differs between tokenizers.

        Args:
            labels: that may be answered.
            post: sends a request to an address; returns the answer's status and text.
        """
        root = self._url.removesuffix("/v1/completions")
        if root == self._url or len(labels) > max(CAPS):
            return
        text = " ".join([LAST_WORD, *labels])
        body = {"model": self._model, "prompt": text, "return_token_strs": True}
        try:
            status, answer = post(body, f"{root}/tokenize")
            found = json.loads(answer) if status == 200 else {}
            pairs = list(zip(found["tokens"], found["token_strs"], strict=True))
        except (JudgeError, ValueError, LookupError, TypeError):
            return
        ids = {label_of(str(token)): int(number) for number, token in pairs}
        if all(label in ids for label in labels):
            self._label_ids = {label: ids[label] for label in labels}

    def written(self, choice: dict[str, Any], prompt: str) -> str:
        """Returns the text of an answer."""
        message = choice.get("message") or {}
        text = message.get("content") if self.chat else choice.get("text", "")
        return str(text or "").removeprefix(prompt)

    def likeliest(self, choice: dict[str, Any], prompt: str) -> dict[str, float]:
        """Reads the log-probabilities of the answer's first token, in any form.

        Raises:
            LookupError: as TypeError, ValueError and AttributeError, where there are none.
        """
        log_probs = choice["logprobs"]
        # A server that repeats the prompt lists the prompt's tokens first.
        place = -1 if str(choice.get("text", "")).startswith(prompt) else 0
        if "content" in log_probs:
            entry = log_probs["content"][place]
            entries = [entry, *(entry.get("top_logprobs") or [])]
            pairs = [(str(entry["token"]), entry["logprob"]) for entry in entries]
        else:
            pairs = list(log_probs["top_logprobs"][place].items())
        names = {f"token_id:{number}": label for label, number in self._label_ids.items()}
        found = {
            names.get(token, token): float(value) for token, value in pairs if value is not None
        }
        if not found:
            raise ValueError("no numbers")
        return found
