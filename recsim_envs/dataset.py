"""One schema for every data source: an item table, interactions, and optionally users.

A :class:`Dataset` is immutable and knows its content hash, so that a result can name the exact
data it came from. On disk it is a folder of parquet files beside ``dataset.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

Scenario = Literal["music", "products", "clothes"]
Frame = pl.DataFrame | Mapping[str, Sequence[Any]] | Any
"""A polars frame, a dict of columns, or a pandas frame."""
IntArray = NDArray[np.int64]
OPTIONAL_COLUMNS = ("user", "rating", "time", "split")


class DataError(ValueError):
    """Bad input data; the message names the place and the fix."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items, interactions and users, in the form every other part of recsim reads.

    Attributes:
        name: how results call this data.
        scenario: what the items are; decides the judge's wording.
        items: row i is action i. Columns: ``item_id`` (the publisher's), ``text`` (what a judge
            reads), and any attributes.
        interactions: columns ``sequence`` (0..n_sequences-1), ``item`` (a row of ``items``), and
            optionally ``user``, ``rating`` (1..5), ``time`` (unix s) and ``split``. Rows are sorted
            by sequence and, within one, oldest first.
        users: row u is user u, with columns ``user_id``, ``text`` and any attributes; or None.
        replica: True for synthetic data that only imitates a real source.
    """

    name: str
    scenario: Scenario
    items: pl.DataFrame
    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    replica: bool = False

    def __post_init__(self) -> None:
        """Checks the schema, so that no later part meets a bad table."""
        if self.scenario not in get_args(Scenario):
            raise DataError(
                f"scenario={self.scenario!r} is unknown: use one of {get_args(Scenario)}"
            )
        _require(self.items, ("item_id", "text"), "items")
        _require(self.interactions, ("sequence", "item"), "interactions")
        if self.users is not None:
            _require(self.users, ("user_id", "text"), "users")
            _require(self.interactions, ("user",), "interactions")
        _require_range(self.interactions["item"], len(self.items), "interactions.item", "items")
        if self.users is not None:
            _require_range(self.interactions["user"], len(self.users), "interactions.user", "users")
        if not self.interactions["sequence"].is_sorted():
            raise DataError("interactions are not sorted by sequence: sort them, oldest first")

    @property
    def n_items(self) -> int:
        """Catalogue size."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """Number of users, 0 where the data has no user table."""
        return 0 if self.users is None else len(self.users)

    @cached_property
    def sequences(self) -> list[IntArray]:
        """The items of each sequence, oldest first."""
        item = self.interactions["item"].to_numpy().astype(np.int64)
        first = np.flatnonzero(np.diff(self.interactions["sequence"].to_numpy())) + 1
        return np.split(item, first)

    @cached_property
    def popularity(self) -> IntArray:
        """How often each item was interacted with, (n_items,)."""
        return np.bincount(self.interactions["item"].to_numpy(), minlength=self.n_items)

    @cached_property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the tables' contents."""
        digest = hashlib.sha256(self.scenario.encode())
        for table in (self.items, self.interactions, self.users):
            digest.update(b"\0none" if table is None else table.write_csv().encode())
        return digest.hexdigest()[:16]

    def split(self, seed: int = 0, held_out: float = 0.2) -> tuple[IntArray, IntArray]:
        """Splits the sequences at random.

        Args:
            seed: of the shuffle.
            held_out: share of the held-out part (the paper: "80% for training, 20% for testing").

        Returns:
            The sequence numbers of the training part and of the held-out part, both sorted.
        """
        order = np.random.default_rng(seed).permutation(len(self.sequences))
        n_held_out = max(1, round(held_out * len(order)))
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])

    def save(self, folder: Path) -> None:
        """Writes the tables and ``dataset.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.items.write_parquet(folder / "items.parquet")
        self.interactions.write_parquet(folder / "interactions.parquet")
        if self.users is not None:
            self.users.write_parquet(folder / "users.parquet")
        about = {
            "name": self.name,
            "scenario": self.scenario,
            "replica": self.replica,
            "hash": self.hash,
            "n_items": self.n_items,
            "n_users": self.n_users,
            "n_sequences": len(self.sequences),
            "n_interactions": len(self.interactions),
        }
        (folder / "dataset.json").write_text(json.dumps(about, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Reads what :meth:`save` wrote.

        Raises:
            DataError: if a file is missing.
        """
        for file in ("dataset.json", "items.parquet", "interactions.parquet"):
            if not (folder / file).is_file():
                raise DataError(f"{folder / file} is missing: prepare the data again")
        about = json.loads((folder / "dataset.json").read_text())
        users = folder / "users.parquet"
        dataset = cls(
            name=about["name"],
            scenario=about["scenario"],
            items=pl.read_parquet(folder / "items.parquet"),
            interactions=pl.read_parquet(folder / "interactions.parquet"),
            users=pl.read_parquet(users) if users.is_file() else None,
            replica=about["replica"],
        )
        # cached_property's slot: the hash was computed when the tables were written.
        dataset.__dict__["hash"] = about["hash"]
        return dataset

    @classmethod
    def from_frame(
        cls,
        name: str,
        interactions: Frame,
        items: Frame,
        users: Frame | None = None,
        *,
        text: str | Sequence[str],
        scenario: Scenario = "products",
        user_text: str | Sequence[str] = (),
        replica: bool = False,
    ) -> Dataset:
        """Builds a dataset from a user's own tables (polars, pandas, or a dict of columns).

        Ids may be of any type; they are numbered in the order of the item and user tables.
        Interactions are sorted by sequence, then by ``time`` or ``position`` where there is one;
        otherwise the order of the rows is taken as the order of time.

        Args:
            name: how results call this data.
            interactions: columns ``item_id`` and ``sequence_id`` (or ``user_id``, where one
                sequence a user is meant); optionally ``rating``, ``time``, ``position``, ``split``.
            items: column ``item_id``, and the columns named in ``text``.
            users: column ``user_id``, and the columns named in ``user_text``.
            text: the item columns that a judge reads, joined by ", " (empty ones are left out).
            scenario: what the items are; decides the judge's wording.
            user_text: the user columns that a judge reads.
            replica: whether the tables are synthetic.

        Raises:
            DataError: for a missing column, a duplicate id, or an interaction with an unknown id.
        """
        events, item_table = _to_polars(interactions), _to_polars(items)
        text_columns = [text] if isinstance(text, str) else list(text)
        user_columns = [user_text] if isinstance(user_text, str) else list(user_text)
        _require(item_table, ("item_id", *text_columns), "items")
        _require(events, ("item_id",), "interactions")
        sequence_id = "sequence_id" if "sequence_id" in events.columns else "user_id"
        _require(events, (sequence_id,), "interactions")
        if events.is_empty():
            raise DataError("interactions is empty: nothing can be learned from it")

        events = events.with_columns(
            item=_row_numbers(events["item_id"], item_table["item_id"], "item_id"),
            sequence=events[sequence_id].rank("dense").cast(pl.Int32) - 1,
        )
        user_table = None
        if users is not None:
            user_table = _to_polars(users)
            _require(user_table, ("user_id", *user_columns), "users")
            _require(events, ("user_id",), "interactions")
            events = events.with_columns(
                user=_row_numbers(events["user_id"], user_table["user_id"], "user_id")
            )
            user_table = _with_text(user_table, user_columns)
        by = ["sequence", *[c for c in ("time", "position") if c in events.columns]]
        kept = [c for c in OPTIONAL_COLUMNS if c in events.columns]
        return cls(
            name=name,
            scenario=scenario,
            items=_with_text(item_table, text_columns),
            interactions=events.sort(by, maintain_order=True).select("sequence", "item", *kept),
            users=user_table,
            replica=replica,
        )

    def __repr__(self) -> str:
        """Says at once whether this is real data."""
        kind = "REPLICA (synthetic)" if self.replica else "real"
        return (
            f"Dataset({self.name!r}, {kind}, {self.n_items} items, {self.n_users} users, "
            f"{len(self.sequences)} sequences, {len(self.interactions)} interactions, "
            f"hash {self.hash})"
        )


def _to_polars(table: Frame) -> pl.DataFrame:
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, Mapping):
        return pl.DataFrame(table)
    # pandas marks what is missing as NaN, in columns of text too.
    return pl.DataFrame(table.astype(object).where(table.notna(), None).to_dict("list"))


def _with_text(table: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    if not columns:
        return table if "text" in table.columns else table.with_columns(text=pl.lit(""))
    parts = [pl.col(c).cast(pl.String).replace("", None) for c in columns]
    return table.with_columns(text=pl.concat_str(parts, separator=", ", ignore_nulls=True))


def _row_numbers(ids: pl.Series, known: pl.Series, column: str) -> pl.Series:
    if known.n_unique() < len(known):
        twice = known.filter(known.is_duplicated())[0]
        raise DataError(f"{column} {twice!r} stands more than once in its table: keep one row each")
    numbers = pl.Series(range(len(known)), dtype=pl.Int32)
    rows = ids.replace_strict(known, numbers, default=None, return_dtype=pl.Int32)
    if rows.null_count():
        place = int(rows.is_null().arg_true()[0])
        raise DataError(
            f"interactions row {place}: {column} {ids[place]!r} is not in the table of that id: "
            "add it there or drop the interaction"
        )
    return rows


def _require(table: pl.DataFrame, columns: Sequence[str], where: str) -> None:
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"{where} has no column {column!r}; its columns are {table.columns}: "
                f"rename the one that is meant to {column!r}"
            )


def _require_range(values: pl.Series, limit: int, where: str, table: str) -> None:
    bad = values.filter((values < 0) | (values >= limit) | values.is_null())
    if len(bad):
        raise DataError(f"{where} holds {bad[0]}, but {table} has rows 0..{limit - 1}")
