"""One schema for every data source: an item table, interactions, and optionally users.

A :class:`Dataset` is immutable, knows its content hash, so that a result can name the exact data it
came from, and owns the split into a training and a held-out part: whatever learns, counts or cleans
asks it for :attr:`Dataset.train`, and only what measures, or calibrates a judge on a half of it,
for :attr:`Dataset.held_out`. On disk it is a folder of compressed CSV files beside
``dataset.json``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from dataclasses import asdict, astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from recsim_envs.arrays import IntArray
from recsim_envs.data.stored import (
    ABOUT,
    TABLES,
    Stored,
    read_interactions,
    read_stored,
    read_texts,
    write_about,
)
from recsim_envs.data.wording import (
    Scenario,
    Wording,
    check_attributes,
    read_wording,
    scenario_wording,
)
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = 0.2
"""Share of the held-out sequences (the paper, section 5.1: 80% for training, 20% for testing)."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items, interactions and users, in the form every other part of recsim reads.

    Attributes:
        name: how results call this data.
        scenario: what the items are; decides the environment, the judges' calibrations and, where
            there is no ``own_wording``, their words.
        items: row i is action i. Columns, all of strings ("" where unknown): ``item_id`` (the
            publisher's), ``text`` (what a judge reads), and any attributes.
        interactions: columns ``sequence`` (0..n_sequences-1), ``item`` (a row of ``items``), and
            optionally ``user``, ``rating`` (1..5), ``time`` (unix s) and ``split``. Rows are sorted
            by sequence and, within one, oldest first.
        users: row u is user u, with columns ``user_id``, ``text`` and any attributes; or None.
        replica: True for synthetic data that only imitates a real source.
        split_seed: of the shuffle that holds sequences out.
        own_wording: the words of judges' prompts, where they are not the scenario's.
        attributes: what the items' text consists of, for the scenario's words; empty where unknown.
        account: what became of the rows of the tables that it was built from, as
            :class:`recsim_envs.data.account.Account` says; empty if it was loaded, for then it is
            in the folder's ``card.json``.
    """

    name: str
    scenario: Scenario
    items: pd.DataFrame
    interactions: pd.DataFrame
    users: pd.DataFrame | None = None
    replica: bool = False
    split_seed: int = 0
    own_wording: Wording | None = None
    attributes: tuple[str, ...] = ()
    account: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the schema, so that no later part meets a bad table."""
        if self.scenario not in get_args(Scenario):
            raise DataError(
                f"scenario={self.scenario!r} is unknown: use one of {get_args(Scenario)}"
            )
        check_attributes(self.attributes)
        require_columns(self.items, ("item_id", "text"), "items")
        require_columns(self.interactions, ("sequence", "item"), "interactions")
        _require_range(self.interactions["item"], len(self.items), "interactions.item", "items")
        if self.users is not None:
            require_columns(self.users, ("user_id", "text"), "users")
            require_columns(self.interactions, ("user",), "interactions")
            _require_range(self.interactions["user"], len(self.users), "interactions.user", "users")
        if not self.interactions["sequence"].is_monotonic_increasing:
            raise DataError("interactions are not sorted by sequence: sort them, oldest first")

    @property
    def wording(self) -> Wording:
        """The words of judges' prompts."""
        return self.own_wording or scenario_wording(self.scenario, self.attributes)

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
        item = self.interactions["item"].to_numpy(np.int64)
        first = np.flatnonzero(np.diff(self.interactions["sequence"].to_numpy())) + 1
        return np.split(item, first)

    def with_choices(self, numbers: IntArray) -> list[IntArray]:
        """Those of the numbered sequences that hold a choice: two items or more."""
        found = [self.sequences[number] for number in numbers]
        return [sequence for sequence in found if len(sequence) > 1]

    @property
    def train(self) -> IntArray:
        """The numbers of the sequences that may be learned from, sorted."""
        return self._split[0]

    @property
    def held_out(self) -> IntArray:
        """The numbers of the sequences that are kept for measuring, sorted."""
        return self._split[1]

    @cached_property
    def popularity(self) -> IntArray:
        """How often each item stands in the training sequences, (n_items,)."""
        items = [np.empty(0, np.int64), *(self.sequences[number] for number in self.train)]
        return np.bincount(np.concatenate(items), minlength=self.n_items)

    @cached_property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the tables' contents, split and own words.

        ``attributes`` are not in it: they follow from the texts, which are.
        """
        from pandas.api.types import is_numeric_dtype

        digest = hashlib.sha256(f"{self.scenario} {self.split_seed}".encode())
        if self.own_wording is not None:
            digest.update(f"\0{json.dumps(astuple(self.own_wording))}".encode())
        for table in (self.items, self.interactions, self.users):
            digest.update(b"\0none" if table is None else f"\0{list(table.columns)}".encode())
            for _, column in () if table is None else table.items():
                if is_numeric_dtype(column):
                    digest.update(np.ascontiguousarray(column.to_numpy(), dtype="<f8").tobytes())
                else:
                    digest.update("\0".join(column.astype(str)).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def _split(self) -> tuple[IntArray, IntArray]:
        order = np.random.default_rng(self.split_seed).permutation(len(self.sequences))
        n_held_out = min(max(1, round(HELD_OUT * len(order))), len(order) - 1)
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])

    def save(self, folder: Path) -> None:
        """Writes the tables and ``dataset.json`` into ``folder``, for :meth:`load`."""
        self.save_tables(folder)
        self.save_about(folder)

    def save_tables(self, folder: Path) -> None:
        """Writes the tables into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in zip(TABLES, (self.items, self.interactions, self.users), strict=True):
            if table is not None:
                text = table.to_csv(index=False, lineterminator="\n", quoting=_quoting(table))
                # Without a time in its header the same content is the same file.
                write_whole(folder / f"{name}.csv.gz", gzip.compress(text.encode(), mtime=0))

    def save_about(self, folder: Path) -> None:
        """Writes ``dataset.json`` into ``folder``, with the hashes of all that is in it by now."""
        about: dict[str, Any] = {
            "name": self.name,
            "scenario": self.scenario,
            "replica": self.replica,
            "split_seed": self.split_seed,
            "hash": self.hash,
            "n_items": self.n_items,
            "n_users": self.n_users,
            "n_sequences": len(self.sequences),
            "n_interactions": len(self.interactions),
        }
        if self.attributes:
            about["attributes"] = self.attributes
        if self.own_wording is not None:
            about["wording"] = asdict(self.own_wording)
        write_about(folder, about)

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Reads what :meth:`save` wrote.

        Raises:
            DataError: if a file is missing, was changed, or is of another version's format.
        """
        return cls.of(read_stored(folder))

    @classmethod
    def of(cls, stored: Stored) -> Dataset:
        """Makes the data set of a prepared folder that was read.

        Raises:
            DataError: if its tables are not those that ``dataset.json`` describes.
        """
        folder, about, content = stored
        tables = {
            name: read(content[f"{name}.csv.gz"], folder / f"{name}.csv.gz")
            for name, read in zip(TABLES, (read_texts, read_interactions, read_texts), strict=True)
            if f"{name}.csv.gz" in content
        }
        try:
            dataset = cls(
                name=about["name"],
                scenario=about["scenario"],
                items=tables["items"],
                interactions=tables["interactions"],
                users=tables.get("users"),
                replica=about["replica"],
                split_seed=about["split_seed"],
                own_wording=read_wording(about.get("wording"), folder / ABOUT),
                attributes=tuple(about.get("attributes", ())),
            )
        except DataError as error:
            raise DamagedFileError(f"{folder} is damaged: {error}") from error
        number = dataset.interactions["sequence"].to_numpy()
        found = {
            "hash": dataset.hash,
            "n_items": dataset.n_items,
            "n_users": dataset.n_users,
            "n_sequences": number[-1] + 1 if len(number) else 0,
            "n_interactions": len(number),
        }
        for name, value in found.items():
            if value != about[name]:
                raise DamagedFileError(
                    f"{folder} was changed: its tables have {name} {value}, but {ABOUT} says "
                    f"{about[name]}. Prepare the data again with `recsim prepare {folder.name} "
                    "SOURCE`"
                )
        if not len(number) or len(dataset.sequences) != about["n_sequences"]:
            raise DamagedFileError(f"{folder} is damaged: its sequences are not numbered from 0")
        return dataset

    def __repr__(self) -> str:
        """Says at once whether this is real data."""
        kind = "REPLICA (synthetic)" if self.replica else "real"
        return (
            f"Dataset({self.name!r}, {kind}, {self.n_items} items, {self.n_users} users, "
            f"{len(self.sequences)} sequences, {len(self.interactions)} interactions, "
            f"hash {self.hash})"
        )


def require_columns(table: pd.DataFrame, columns: tuple[str, ...], where: str) -> None:
    """Raises DataError, naming the table ``where``, if it lacks one of the columns."""
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"{where} has no column {column!r}; its columns are {list(table.columns)}: "
                f"rename the one that is meant to {column!r}"
            )


def _quoting(table: pd.DataFrame) -> Literal[0, 2]:
    """How fields are quoted; pandas leaves a lone carriage return bare, and reads it as a line."""
    texts = table.select_dtypes(exclude="number")
    has_return = any(column.str.contains("\r", regex=False).any() for _, column in texts.items())
    return csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL


def _require_range(values: pd.Series, limit: int, where: str, table: str) -> None:
    bad = values[~values.between(0, limit - 1)]
    if len(bad):
        raise DataError(f"{where} holds {bad.iloc[0]}, but {table} has rows 0..{limit - 1}")
