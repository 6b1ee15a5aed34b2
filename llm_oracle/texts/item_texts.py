"""What the judge reads of an item: a seller's words, as far as they look like a catalogue's.

Titles are written by strangers, and a seller may write orders to the judge into one. No list of
forbidden phrases would end; so the catalogue itself says what a title looks like. Titles share
pairs of neighbouring words ("Iron Maiden", "hex bolt", "Pack of"), and their own words stand in
short runs between such pairs. A sentence to the judge is a long run of pairs that no title has: of
such a run only the first words stay, as many as any seller may write. In a small catalogue honest
titles are long runs too, and these words tell what they are.

One kind of order has a form: it names the label to answer with. It goes whoever vouches for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from numpy.typing import ArrayLike

from llm_oracle.judge import item_counts
from llm_oracle.texts.prompts import sanitize
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.wording import Wording
from recsim_envs.errors import DataError
from recsim_envs.notices import logger

MAX_CHARS = 200
LONGEST_RUN = 4
"""Words. Of the texts of LFM-1M 97% have no longer run of their own, of Amazon Industrial's 89%;
the shortest order to the judge that we know of has five words."""
ENDS = " .,;:-"
EDGES = re.compile(r"^\W+|\W+$")
CLAUSE = re.compile(r"(?<=[.,;:!?])\s+")
NAMES_A_LABEL = re.compile(
    r"\b(?:answer|choose|output|pick|reply|respond|return|say|select|write)s?\W+"
    r"(?:(?:with|only|the|option|label|letter|candidate)\W+)*"
    r"(?:[b-hj-z]\b|[ai](?:\W*$))",
    re.IGNORECASE,
)
"""An order with a label; "a" and "i" are words too, so these two count at a clause's end alone."""


def item_texts(dataset: Dataset, counts: ArrayLike | None = None) -> list[str]:
    """Sanitizes the items' texts and shortens what no other item vouches for.

    A pair of neighbouring words is vouched for if it stands in the texts of two items that people
    took. Other sellers' items count only with their sales, so that a seller cannot vouch for a
    sentence by writing it into many titles.

    Args:
        dataset: the catalogue.
        counts: (n_items,) how often people took each item; default ``dataset.popularity``.

    Says how many texts lost words.

    Returns:
        One line an item, see :func:`llm_oracle.texts.prompts.sanitize`,
        :func:`without_label_orders` and :func:`without_long_runs`, cut at :data:`MAX_CHARS`
        characters.
    """
    texts = [sanitize(text) for text in dataset.items["text"]]
    taken = [count > 0 for count in item_counts(dataset, counts)]
    clean = without_long_runs([without_label_orders(text) for text in texts], taken)
    lost = sum(a != b for a, b in zip(texts, clean, strict=True))
    if lost:
        unknown = sum(a != b == "unknown" for a, b in zip(texts, clean, strict=True))
        logger.warning(
            f"of {len(texts)} item texts {lost} lost words that no two titles share, and {unknown} "
            'of them became "unknown" (docs/judge.md)'
        )
    return [text[:MAX_CHARS].rstrip() for text in clean]


def shown(text: str) -> str:
    """Sanitizes a text and cuts it at :data:`MAX_CHARS` characters."""
    return sanitize(text)[:MAX_CHARS].rstrip()


def check_wording(dataset: Dataset) -> Wording:
    """Returns the words of a data set's prompts, which may be a stranger's.

    Raises:
        DataError: if one is an order to the judge.
    """
    wording = dataset.wording
    for word in (wording.scenario, wording.item, wording.behavior, *wording.attributes):
        if without_label_orders(sanitize(word)) != word:
            raise DataError(
                f"the wording of {dataset.name!r} holds {word!r}, which tells a judge what to "
                "answer: prepare it with another --scenario, --item, --behavior or --attributes"
            )
    return wording


def without_label_orders(text: str) -> str:
    """Drops the clauses of a sanitized text that tell the judge which label to answer with."""
    clauses = CLAUSE.split(text)
    kept = [clause for clause in clauses if not NAMES_A_LABEL.search(clause)]
    if len(kept) == len(clauses):
        return text
    return " ".join(kept).rstrip(ENDS) or "unknown"


def without_long_runs(texts: Sequence[str], taken: Sequence[bool]) -> list[str]:
    """Cuts runs of words that stand in no vouched pair after :data:`LONGEST_RUN` words.

    Args:
        texts: sanitized.
        taken: whether each text belongs to an item that vouches.
    """
    pairs = [list(pairwise(_plain(word) for word in text.split())) for text in texts]
    vouchers = Counter(
        pair for row, vouches in zip(pairs, taken, strict=True) if vouches for pair in set(row)
    )
    result = []
    for text, row in zip(texts, pairs, strict=True):
        words = text.split()
        shared = [vouchers[pair] >= 2 for pair in row]
        vouched = [a or b for a, b in zip([False, *shared], [*shared, False], strict=True)]
        kept: list[str] = []
        for is_vouched, run in groupby(zip(words, vouched, strict=True), key=lambda pair: pair[1]):
            part = [word for word, _ in run]
            kept += part if is_vouched else part[:LONGEST_RUN]
        result.append(text if len(kept) == len(words) else " ".join(kept).rstrip(ENDS))
    return result


def _plain(word: str) -> str:
    """A word as it counts in a pair: all sizes and part numbers are one word."""
    word = EDGES.sub("", word.casefold()) or word
    return "0" if any(c.isdigit() for c in word) else word
