"""What a language model reads: Table 1 of the paper, and the same as plain running text.

The literal wording of Table 1 is not available to us, so the template is a **reconstruction** from
what is known of it: it names the user's past items in order, lists the candidates as a, b, c, ...
with "None of them" as the last, and ends in "The user will select". The model's next token is the
answer: each label, with its leading space, is a single token (" a" to " k" for ten candidates).
Whoever has the original can put it here; `TEMPLATE_VERSION` must then change, since cached verdicts
are keyed by it.

Every text that comes from data passes :func:`sanitize` first: titles are written by strangers.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsim_envs.arrays import IntArray
from recsim_envs.data.dataset import Scenario

TEMPLATE_VERSION = "1"
LABELS = "abcdefghijklmnopqrstuvwxyz"
NONE_TEXT = "None of them"
STUB = "The user will select"
# <|im_end|>-like tokens, Llama's and Mistral's brackets, and <s>.
STUB_IN_TEXT = re.compile(rf"\b{STUB}\b", re.IGNORECASE)
CHAT = re.compile(r"<\|.*?\|>|\[/?INST\]|<</?SYS>>|</?s>", re.IGNORECASE)
MAX_CHARS = 10_000
"""Of a text that is read at all; what is shown is cut after cleaning."""
HTML = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


class Wording(NamedTuple):
    """The words that differ between scenarios; ``{user}`` is " (description)" or empty.

    Attributes:
        chose: introduces the history in Table 1's form.
        new: stands in its place when there is no history.
        question: introduces the candidates.
        list: introduces the history in the running-text form.
    """

    chose: str
    new: str
    question: str
    list: str


WORDINGS: dict[Scenario, Wording] = {
    "music": Wording(
        chose="A user{user} of a music service listened to these songs, oldest first:",
        new="A user{user} of a music service has not listened to anything yet.",
        question="The service now offers these songs:",
        list="Songs that a person{user} listened to, in order:",
    ),
    "products": Wording(
        chose="A customer{user} of an online shop bought these products, oldest first:",
        new="A customer{user} of an online shop has not bought anything yet.",
        question="The shop now offers these products:",
        list="Products that a customer{user} bought, in order:",
    ),
    "clothes": Wording(
        chose="A customer{user} of a clothing shop chose these clothes, oldest first:",
        new="A customer{user} of a clothing shop has not chosen anything yet.",
        question="The shop now offers these clothes:",
        list="Clothes that a customer{user} chose, in order:",
    ),
}


def sanitize(text: str) -> str:
    """Makes one harmless line out of a text from data.

    Decodes HTML entities, also entities of entities, since they may hold all that follows. Ends
    the text at the first special token of a chat (``<|im_end|>``, ``[INST]``, ``</s>``) and at the
    words that end Table 1's prompt: no title holds any, and what follows is said to the model.
    Drops HTML tags and control characters, and turns all white space into single spaces. An empty
    text becomes "unknown". What is shown is cut after cleaning; here goes only what exceeds
    :data:`MAX_CHARS`.
    """
    text = text[:MAX_CHARS]
    for _ in range(3):
        text = html.unescape(text)
    text = CHAT.split(unicodedata.normalize("NFKC", text), maxsplit=1)[0]
    # A space takes each one's place, so that what stood around it cannot join to another.
    text = HTML.sub(" ", text)
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return STUB_IN_TEXT.split(" ".join(text.split()), maxsplit=1)[0].rstrip() or "unknown"


def label_prompt(
    scenario: Scenario, history: Sequence[str], candidates: Sequence[str], user: str = ""
) -> str:
    """Builds Table 1's prompt; the next token is the label of what the user takes.

    Args:
        scenario: decides the wording.
        history: sanitized item texts, oldest first; may be empty.
        candidates: sanitized item texts, at most 25, in the order they are to be shown.
        user: sanitized description of the user, or "".

    Raises:
        ValueError: for more candidates than there are letters.
    """
    if len(candidates) >= len(LABELS):
        raise ValueError(
            f"{len(candidates)} candidates and 'None of them' do not fit {len(LABELS)} "
            f"one-letter labels: use k <= {len(LABELS) - 1}"
        )
    wording = WORDINGS[scenario]
    context = (wording.chose if history else wording.new).format(user=user and f" ({user})")
    options = [*candidates, NONE_TEXT]
    lines = [context, *(f"- {text}" for text in history), wording.question]
    lines += [f"{label}. {text}" for label, text in zip(LABELS, options, strict=False)]
    return "\n".join([*lines, STUB])


def list_prompt(scenario: Scenario, history: Sequence[str], user: str = "") -> str:
    """Builds the running text that a candidate's text continues, for scoring by likelihood.

    A list of the user's items, broken off where the next item's text would begin. Without history
    and user it is the prompt of the prior.
    """
    head = WORDINGS[scenario].list.format(user=user and f" ({user})")
    return "\n".join([head, *(f"- {text}" for text in history), "-"])


def list_example(scenario: Scenario, items: Sequence[str]) -> str:
    """Builds what stands before every list prompt: somebody else's list.

    It shows the model what such a list looks like. Without it, a history of one item would make
    every candidate likelier, only for looking like an item.
    """
    return list_prompt(scenario, items).removesuffix("-")


def label_order(seed: int, history: IntArray, slate: IntArray) -> IntArray:
    """Shuffles a slate against position bias: candidate ``order[i]`` is shown under label i.

    The order is a function of the seed and of the row's own content, so that a verdict depends
    neither on its batch nor on the verdicts before it.
    """
    content = b"|".join(np.asarray(ids, dtype="<i8").tobytes() for ids in ([seed], history, slate))
    digest = hashlib.blake2b(content, digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    return rng.permutation(len(slate))
