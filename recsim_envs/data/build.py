"""Builds a :class:`Dataset` from a user's tables, accounting for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table, all_texts, numbers, texts
from recsim_envs.data.dataset import Dataset, require_columns
from recsim_envs.data.order import check_order
from recsim_envs.data.reading import SHORTEST, Reading, refuse_unused
from recsim_envs.data.scale import LOW_TO_HIGH, mark_splits, on_our_scale, who_liked
from recsim_envs.data.thin import first_users, in_core, sessions
from recsim_envs.data.times import seconds, time_column
from recsim_envs.data.wording import ChosenWords
from recsim_envs.errors import DataError

COLUMNS = ("item_id", "user_id", "sequence_id", "rating", "position", "split")


def build(
    name: str,
    events: Table,
    items: Table,
    users: Table | None,
    reading: Reading,
    account: Account,
    *,
    text: tuple[str, ...],
    user_text: tuple[str, ...],
    words: ChosenWords,
    replica: bool,
    split_seed: int,
) -> Dataset:
    """What :func:`recsim_envs.data.tables.from_frame` does, with tables that know their places.

    Args:
        name: how results call this data.
        events: the interactions.
        items: the catalogue.
        users: who they are of, where that is described.
        reading: how the interactions are read.
        account: filled; tables that are in it already were counted when they were read.
        text: the item columns that a judge reads.
        user_text: the user columns that a judge reads.
        words: in which judges are asked.
        replica: whether the tables are synthetic.
        split_seed: of the shuffle that holds sequences out.
    """
    for table, rows in (("interactions", events), ("items", items), ("users", users)):
        if rows is not None and table not in account.tables:
            account.read(table, len(rows.frame))
    events = events.named(COLUMNS)
    for_coat = _for_coat(events, users, reading)
    refuse_unused(events, for_coat, reading)
    item_table = _entities(items, "item_id", text, "items", account)
    user_table = None
    if users is not None:
        user_table = _entities(users, "user_id", user_text, "users", account)
    events = _with_ids(events, user_table is not None or for_coat, account)
    if for_coat and user_table is None:
        # Nobody describes the users, and the environment needs no more than their ratings.
        user_table = pd.DataFrame({"user_id": events.frame["user_id"].unique(), "text": ""})
        account.note("users: no table, so the user_ids of the interactions, without a text")
    columns = {"item": _row_numbers(events, "item_id", item_table["item_id"])}
    if user_table is not None:
        columns["user"] = _row_numbers(events, "user_id", user_table["user_id"])
    columns["sequence"] = _sequences(events, account)
    n_sequences = int(columns["sequence"].max(initial=-1)) + 1
    account.size("before", len(item_table), n_sequences, len(events.frame))
    rest, kept = _of_each(events, for_coat, reading, split_seed, account)
    if reading.max_users is not None:
        kept = kept & first_users(events, kept, reading.max_users, account)
    table = pd.DataFrame({**columns, **rest})[kept]
    if reading.k_core is not None:
        users_of = events.frame["user_id"][kept] if "user_id" in events.frame.columns else None
        table, item_table = in_core(table, item_table, users_of, reading.k_core, account)
    table = _in_sequences(table, for_coat, reading, account)
    if table.empty:
        raise DataError(
            f"{events.name}: no row is left, {account.tables['interactions']['dropped']}: nothing "
            "can be learned from it"
        )
    if not for_coat:
        check_order(table, item_table["item_id"], events.name, reading.rows_in_order, account)
    account.size("after", len(item_table), table["sequence"].nunique(), len(table))
    order = ("sequence", "item", "user", "rating", "time", "split")
    return Dataset(
        name=name,
        scenario=words.scenario,
        items=item_table,
        interactions=table[[column for column in order if column in table.columns]],
        users=user_table,
        replica=replica,
        split_seed=split_seed,
        own_wording=words.own,
        attributes=words.attributes,
        account=account.as_dict(),
    )


def _for_coat(events: Table, users: Table | None, reading: Reading) -> bool:
    """Whether every rating is kept; and whether the interactions have what is needed at all."""
    columns = events.frame.columns
    require_columns(events.frame, ("item_id",), events.name)
    if reading.all_ratings:
        require_columns(events.frame, ("user_id", "rating"), events.name)
    if users is not None or "sequence_id" not in columns:
        require_columns(events.frame, ("user_id",), events.name)
    if events.frame.empty:
        raise DataError(f"{events.name} is empty: nothing can be learned from it")
    of_coat = users is not None and {"rating", "split"} <= set(columns)
    return reading.all_ratings or of_coat


def _entities(
    table: Table, id_column: str, text: tuple[str, ...], name: str, account: Account
) -> pd.DataFrame:
    """Items or users: all columns as texts, one row an id, and the column ``text``."""
    table = table.named((id_column,))
    require_columns(table.frame, (id_column, *text), table.name)
    found = all_texts(table, id_column)
    kept = account.keep(name, found[id_column].str.strip().ne("").to_numpy(), f"no {id_column}")
    table, found = table.only(kept), found[kept].reset_index(drop=True)
    twice = np.flatnonzero(found[id_column].duplicated())
    if len(twice):
        again, known = int(twice[0]), found[id_column]
        raise DataError(
            f"{table.place(again)}: {id_column} {known[again]!r} stands more than once, first in "
            f"{table.unit} {table.numbers[(known == known[again]).argmax()]}: keep one row each"
        )
    if not text:
        return found if "text" in found.columns else found.assign(text="")
    rows = found[list(text)].itertuples(index=False, name=None)
    return found.assign(text=[", ".join(part for part in row if part) for row in rows])


def _with_ids(events: Table, users_matter: bool, account: Account) -> Table:
    """The interactions with ids as texts, without those that lack one."""
    columns = [c for c in ("item_id", "user_id", "sequence_id") if c in events.frame.columns]
    ids = {column: texts(events, column, is_id=True) for column in columns}
    events = events._replace(frame=events.frame.assign(**ids))
    for column in columns:
        if column == "user_id" and "sequence_id" in columns and not users_matter:
            continue  # a session may be nobody's
        present = events.frame[column].str.strip().ne("").to_numpy()
        events = events.only(account.keep("interactions", present, f"no {column}"))
    return events


def _row_numbers(events: Table, column: str, known: pd.Series) -> Any:
    rows = pd.Index(known).get_indexer(pd.Index(events.frame[column]))
    if (rows < 0).any():
        row = int(np.flatnonzero(rows < 0)[0])
        raise DataError(
            f"{events.place(row)}: {column} {events.frame[column].iloc[row]!r} is not in the table "
            "of that id: add it there or drop the interaction"
        )
    return rows.astype(np.int32)


def _sequences(events: Table, account: Account) -> Any:
    """The number of each row's sequence, by first appearance, (n,)."""
    codes = {
        column: pd.factorize(events.frame[column])[0].astype(np.int64)
        for column in ("user_id", "sequence_id")
        if column in events.frame.columns
    }
    if len(codes) == 1:
        return next(iter(codes.values()))
    of_id = codes["sequence_id"]
    pairs = pd.factorize(codes["user_id"] * (of_id.max(initial=0) + 1) + of_id)[0]
    if pairs.max(initial=0) > of_id.max(initial=0):
        account.note(
            "sequences: a sequence_id stands under several user_ids, so a sequence is a pair of "
            "user_id and sequence_id"
        )
    return pairs


def _of_each(
    events: Table, for_coat: bool, reading: Reading, seed: int, account: Account
) -> tuple[dict[str, Any], Any]:
    """Ratings, times, positions and splits; and which rows (n,) are choices."""
    found: dict[str, Any] = {}
    kept = np.ones(len(events.frame), dtype=bool)
    if "rating" in events.frame.columns:
        ratings = numbers(events, "rating")
        scale = LOW_TO_HIGH if reading.rating_scale is None else reading.rating_scale
        if for_coat:
            found["rating"] = on_our_scale(events, ratings, scale, account)
            found["split"] = mark_splits(events, seed, account)
        else:
            kept = who_liked(events, ratings, scale, reading.liked, account)
    column = time_column(events)
    if column is not None:
        found["time"], how = seconds(events, column)
        account.note(how)
    if "position" in events.frame.columns:
        found["position"] = numbers(events, "position")
    if "split" in events.frame.columns and not for_coat:
        found["split"] = texts(events, "split")
    return found, kept


def _in_sequences(
    table: pd.DataFrame, for_coat: bool, reading: Reading, account: Account
) -> pd.DataFrame:
    """The rows sorted by sequence, oldest first, without sequences that are too short."""
    table["sequence"] = pd.factorize(table["sequence"])[0].astype(np.int32)
    by = ["sequence", *[column for column in ("time", "position") if column in table.columns]]
    table = table.sort_values(by, kind="stable", ignore_index=True)
    if reading.session_gap is not None:
        table = sessions(table, reading.session_gap, account)
    least = SHORTEST if reading.min_length is None else reading.min_length
    least = 1 if for_coat else least
    length = table.groupby("sequence")["item"].transform("size").to_numpy()
    account.read("sequences", table["sequence"].nunique())
    n_short = table.loc[length < least, "sequence"].nunique()
    account.drop("sequences", n_short, f"fewer than {least} items")
    account.keep("interactions", length >= least, f"in a sequence of fewer than {least} items")
    table = table[length >= least].reset_index(drop=True)
    return table.assign(sequence=pd.factorize(table["sequence"])[0].astype(np.int32))
