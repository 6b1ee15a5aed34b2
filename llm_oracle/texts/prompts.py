"""What a language model reads: Table 1 of the paper, and the same as plain running text.

Table 1 has the form of Alpaca's prompts: a header, then Instruction, Input and Response. Parts,
slots and their order are the paper's; the sentences are ours, and so are the description of a user
and the lines, one an item, into which the history and the candidates are broken. The prompt ends
where the label of the user's choice would stand: the model's next token is the answer. Each label,
with its leading space, is a single token (" a" to " k" for ten candidates).

Every text that comes from data passes :func:`sanitize` first: titles are written by strangers.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from recsim_envs.arrays import IntArray
from recsim_envs.data.wording import Wording

TEMPLATE_VERSIONS = {"label": "2", "answer": "2", "likelihood": "1"}
"""Of the prompt behind each way to score. It must change with the prompt, since cached verdicts and
adapters are keyed by it. Of labels, 1 was another reconstruction of Table 1."""
LABELS = "abcdefghijklmnopqrstuvwxyz"
NONE_TEXT = "None"
LEAD = "Going by the user's taste,"
CHOICE = "the user will select"
STUB = f"Response: {LEAD} {CHOICE}"
LAST_WORD = STUB.split()[-1]
LABEL_PROMPT = """\
A task follows, and the input that it is about. Answer with what the task asks for.

Instruction: Put yourself in the place of someone who uses this {scenario}. Each {item} is \
written as {attributes}. The user's history, oldest first, comes from {behavior} one {item} \
after another. Each candidate, under a small letter, is one {item} that may be recommended now. \
Find the candidate that the user would like best as the next {item}, going by the user's taste \
in {attributes}. If the user would take no candidate, the answer is "{none}".

Input: {user}History:{history}
Which candidate would the user like best as the next {item}?
{candidates}

{stub}"""
LISTS = {
    ("song", "listening to"): "Songs that a person{user} listened to, in order:",
    ("product", "buying"): "Products that a customer{user} bought, in order:",
    ("garment", "choosing"): "Clothes that a customer{user} chose, in order:",
}
"""By item and behavior: the beginnings of lists on which the adapter in this package was tuned."""
OTHER_LIST = "History of a person{user}, {behavior} one {item} after another:"
# The end of Table 1's prompt, as far as a text has it, and the heads of its parts as Alpaca marks
# them. "Input:" alone is in honest titles.
IMITATION = re.compile(
    rf"(?:\bresponse\W+)?(?:\b{re.escape(LEAD)} )?\b{CHOICE}\b"
    r"|#{2,} ?(?:instruction|input|response) ?:",
    re.IGNORECASE,
)
# <|im_end|>-like tokens, Llama's and Mistral's brackets, and <s>.
CHAT = re.compile(r"<\|.*?\|>|\[/?INST\]|<</?SYS>>|</?s>", re.IGNORECASE)
MAX_CHARS = 10_000
"""Of a text that is read at all; what is shown is cut after cleaning."""
HTML = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def sanitize(text: str) -> str:
    """Makes one harmless line out of a text from data.

    Decodes HTML entities, also entities of entities, since they may hold all that follows. Ends
    the text at the first special token of a chat (``<|im_end|>``, ``[INST]``, ``</s>``), at the
    words that end Table 1's prompt and at Alpaca's marks of its parts (``### Response:``): no title
    holds any, and what follows is said to the model.
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
    return IMITATION.split(" ".join(text.split()), maxsplit=1)[0].rstrip() or "unknown"


def label_prompt(
    wording: Wording, history: Sequence[str], candidates: Sequence[str], user: str = ""
) -> str:
    """Builds Table 1's prompt; the next token is the label of what the user takes.

    Args:
        wording: fills the slots.
        history: sanitized item texts, oldest first; may be empty.
        candidates: sanitized item texts, at most 25, in the order they are to be shown.
        user: sanitized description of the user, or "".

    Raises:
        ValueError: for more candidates than there are letters.
    """
    if len(candidates) >= len(LABELS):
        raise ValueError(
            f"{len(candidates)} candidates and {NONE_TEXT!r} do not fit {len(LABELS)} "
            f"one-letter labels: use k <= {len(LABELS) - 1}"
        )
    options = zip(LABELS, [*candidates, NONE_TEXT], strict=False)
    return LABEL_PROMPT.format(
        scenario=wording.scenario,
        item=wording.item,
        behavior=wording.behavior,
        attributes="; ".join(wording.attributes),
        none=NONE_TEXT,
        user=user and f"User: {user}\n",
        history="".join(f"\n- {text}" for text in history) or " nothing so far",
        candidates="\n".join(f"{label}. {text}" for label, text in options),
        stub=STUB,
    )


def list_prompt(wording: Wording, history: Sequence[str], user: str = "") -> str:
    """Builds the running text that a candidate's text continues, for scoring by likelihood.

    A list of the user's items, broken off where the next item's text would begin. Without history
    and user it is the prompt of the prior.
    """
    head = LISTS.get((wording.item, wording.behavior), OTHER_LIST)
    about = user and f" ({user})"
    head = head.format(user=about, item=wording.item, behavior=wording.behavior)
    return "\n".join([head, *(f"- {text}" for text in history), "-"])


def list_example(wording: Wording, items: Sequence[str]) -> str:
    """Builds what stands before every list prompt: somebody else's list.

    It shows the model what such a list looks like. Without it, a history of one item would make
    every candidate likelier, only for looking like an item.
    """
    return list_prompt(wording, items).removesuffix("-")


def label_order(seed: int, history: IntArray, slate: IntArray) -> IntArray:
    """Shuffles a slate against position bias: candidate ``order[i]`` is shown under label i.

    The order is a function of the seed and of the row's own content, so that a verdict depends
    neither on its batch nor on the verdicts before it.
    """
    content = b"|".join(np.asarray(ids, dtype="<i8").tobytes() for ids in ([seed], history, slate))
    digest = hashlib.blake2b(content, digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    return rng.permutation(len(slate))
