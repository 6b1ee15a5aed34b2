"""Amazon's reviews of 2018 and of 2023: one JSON object a line, reviews beside "meta".

Source: Ni, Li and McAuley, "Justifying Recommendations using Distantly-Labeled Reviews" (2019); Hou
et al., "Bridging Language and Items for Retrieval and Recommendation" (2024).
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.json_lines import json_lines
from recsim_envs.data.reading import Reading
from recsim_envs.data.sources.source import Source
from recsim_envs.errors import DataError

SCRIPT = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<[a-zA-Z]+\s[^<>]*=[^<>]*$")
"""Also one that the end of the text cuts off, told from a size (<M5) by its attribute."""
CODE = re.compile(r"getTime\(|aPageStart|function\s*\(")
"""Of a page's script without its tags, which some titles consist of."""
# A purchase is a choice, whatever its buyer thought later.
ALL = Reading(rating_scale=(1, 5), liked=1)


class Names(NamedTuple):
    """What a year calls a field."""

    user: str
    item: str
    rating: str
    time: str
    category: str
    brand: str


OF_2018 = Names("reviewerID", "asin", "overall", "unixReviewTime", "category", "brand")
OF_2023 = Names("user_id", "parent_asin", "rating", "timestamp", "categories", "store")


def read_amazon(files: dict[str, Path], names: Names, account: Account) -> Source:
    """Reads reviews, and the title, category and brand of what they are of.

    Of several reviews of an item by one user the earliest counts, of several descriptions of an
    item the first. The catalogue is what was reviewed, in the order of the reviews that count.

    Args:
        files: "reviews" and "meta".
        names: of the fields.
        account: of the rows.

    Raises:
        DataError: for a line that is no JSON object, or lacks a field, naming it.
    """
    events = _read_reviews(files["reviews"], names, account)
    meta = _read_meta(files["meta"], names, set(events.frame["item_id"]), account)
    described = dict(zip(meta["item_id"], range(len(meta)), strict=True))
    ids = events.frame["item_id"].unique()
    rows = pd.Series(ids).map(described)
    items = meta.reindex(rows.fillna(-1).astype(int)).fillna("").assign(item_id=ids)
    if rows.isna().any():
        account.note(
            f"texts: {int(rows.isna().sum())} of {len(ids)} items are not in {files['meta'].name}, "
            "and have none"
        )
    table = Table(items.reset_index(drop=True), "items", np.arange(len(items)), "row")
    account.read("items", len(items))
    return Source(events, table, text=("title", "category", "brand"), defaults=ALL)


def clean(text: object) -> str:
    """A text of a web page without tags, scripts, entities, line breaks; "" if it is a script."""
    if not isinstance(text, str):
        return ""
    without = TAG.sub(" ", SCRIPT.sub(" ", text))
    # Some are encoded twice: &amp;amp;.
    plain = html.unescape(html.unescape(without)).replace("\0", " ")
    return "" if CODE.search(plain) else " ".join(plain.split())


def _read_reviews(file: Path, names: Names, account: Account) -> Table:
    rows, numbers = [], []
    for number, review in json_lines(file):
        for field in (names.user, names.item, names.rating, names.time):
            if review.get(field) in (None, ""):
                raise DataError(
                    f"{file}, line {number}: no {field!r}; the fields are {list(review)}: correct "
                    "or delete it"
                )
        rows.append([review[field] for field in names[:4]])
        numbers.append(number)
    account.read("interactions", len(rows))
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    # The times' own order may differ from the file's; a stable sort keeps the file's in ties.
    earliest = frame.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "item_id"])
    kept = frame.index.isin(earliest.index)
    account.keep("interactions", kept, "a later review of an item by the same user")
    return Table(frame, str(file), np.array(numbers, dtype=np.int64), "line").only(kept)


def _read_meta(file: Path, names: Names, wanted: set[str], account: Account) -> pd.DataFrame:
    """The texts of the wanted items, the first of each: item_id, title, category, brand."""
    found: dict[str, tuple[str, str, str, str]] = {}
    n_again = n_marked = n_lost = 0
    for number, item in json_lines(file):
        if names.item not in item:
            raise DataError(f"{file}, line {number}: no {names.item!r}: correct or delete it")
        item_id = item[names.item]
        if item_id in found:
            n_again += 1
        elif item_id in wanted:
            title = clean(item.get("title"))
            raw = item.get("title") or ""
            n_marked += bool(TAG.search(raw) or CODE.search(raw))
            n_lost += bool(raw) and not title
            path = " > ".join(filter(None, map(clean, _list(item.get(names.category)))))
            found[item_id] = (item_id, title, path, clean(item.get(names.brand)))
    account.note(
        f"texts: {n_marked} titles of {file.name} held tags or scripts, which were taken out; "
        f"{n_lost} of them are empty now"
    )
    if n_again:
        account.note(f"texts: {n_again} later descriptions of items in {file.name} were left out")
    return pd.DataFrame(list(found.values()), columns=["item_id", "title", "category", "brand"])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
