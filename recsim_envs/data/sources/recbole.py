"""RecBole's atomic files: tab-separated, every column named ``name:type``.

Source: Zhao et al., "RecBole: Towards a Unified, Comprehensive and Efficient Framework for
Recommendation Algorithms" (CIKM 2021), and its page on atomic files.
"""

from __future__ import annotations

import csv
from pathlib import Path

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.csv_table import read_csv
from recsim_envs.data.sources.source import Source
from recsim_envs.errors import DataError

TYPES = ("token", "token_seq", "float", "float_seq")


def read_recbole(files: dict[str, Path], account: Account) -> Source:
    """Reads ``.inter``, ``.item`` and perhaps ``.user``.

    A column's name is what precedes the colon. Quotes are characters as any other. ``session_id``
    is a ``sequence_id``.

    Args:
        files: "interactions", "items" and perhaps "users".
        account: of the rows.

    Raises:
        DataError: for a column without a type, naming it, or a bad line.
    """
    tables = {
        name: _read_atomic(files[name], name, account)
        for name in ("interactions", "items", "users")
        if name in files
    }
    events = tables["interactions"]
    frame = events.frame.rename(columns={"session_id": "sequence_id"})
    return Source(events._replace(frame=frame), tables["items"], tables.get("users"))


def _read_atomic(file: Path, name: str, account: Account) -> Table:
    id_column = "user_id:token" if name == "users" else "item_id:token"
    table = read_csv(file, name, id_column, account, delimiter="\t", quoting=csv.QUOTE_NONE)
    parts = [column.rpartition(":") for column in table.frame.columns]
    for column, (before, _, kind) in zip(table.frame.columns, parts, strict=True):
        if not before or kind not in TYPES:
            raise DataError(
                f"{file}, line 1: column {column!r} has no type: write it as name:type, with one "
                f"of {TYPES}"
            )
    frame = table.frame.set_axis([before for before, _, _ in parts], axis=1)
    return table._replace(frame=frame)
