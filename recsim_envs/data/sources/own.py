"""A user's own tables as files: interactions, items and users, each in one of four formats."""

from __future__ import annotations

from pathlib import Path

from recsim_envs.data.account import Account
from recsim_envs.data.coat import word_coat
from recsim_envs.data.columns import Table, to_table
from recsim_envs.data.csv_table import read_csv
from recsim_envs.data.json_lines import read_json_lines
from recsim_envs.data.sources.source import Source
from recsim_envs.errors import DataError


def read_own(files: dict[str, Path], account: Account) -> Source:
    """Reads the tables of docs/own-data.md.

    A folder with Coat's columns (``jacket_type``) is worded as Coat.

    Args:
        files: "items", "interactions" and perhaps "users", each ``.csv``, ``.tsv`` or ``.jsonl``,
            also packed (``.gz``), or ``.parquet``.
        account: of the rows.

    Raises:
        DataError: naming file and line.
    """
    items = read_table(files["items"], "items", "item_id", account)
    events = read_table(files["interactions"], "interactions", "item_id", account)
    if "users" not in files:
        return Source(events, items)
    users = read_table(files["users"], "users", "user_id", account)
    if "jacket_type" not in items.frame.columns:
        return Source(events, items, users)
    worded_items, worded_users = word_coat(items.frame, users.frame)
    items, users = items._replace(frame=worded_items), users._replace(frame=worded_users)
    return Source(events, items, users, ("text",), ("text",), "clothes")


def read_table(file: Path, name: str, id_column: str, account: Account) -> Table:
    """Reads one table by the ending of its name.

    Args:
        file: the file.
        name: of the table in the account.
        id_column: the column of its ids.
        account: of the rows.

    Raises:
        DataError: naming file and line.
    """
    ending = file.name.casefold().removesuffix(".gz").rsplit(".", 1)[1]
    if ending == "jsonl":
        return read_json_lines(file, name, account)
    if ending == "parquet":
        table = _read_parquet(file)
        account.read(name, len(table.frame))
        return table
    delimiter = "\t" if ending == "tsv" else ","
    return read_csv(file, name, id_column, account, delimiter=delimiter)


def _read_parquet(file: Path) -> Table:
    try:
        import polars
    except ModuleNotFoundError as error:
        raise DataError(
            f"{file}: parquet needs polars: pip install 'recsim-ialp[parquet]'"
        ) from error
    try:
        frame = polars.read_parquet(file)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} is no parquet file ({error}): write it again") from error
    return to_table(frame, str(file))
