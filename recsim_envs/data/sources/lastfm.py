"""Last.fm-1K: listening histories with names, newest first.

Source: Celma, "Music Recommendation and Discovery in the Long Tail" (2010).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.sources.blocks import blocks, frame_of
from recsim_envs.data.sources.lfm1b import SESSIONS, note_broken, with_first_users
from recsim_envs.data.sources.source import Source
from recsim_envs.errors import DataError

COLUMNS = ("user_id", "timestamp", "artist_id", "artist", "track_id", "title")


def read_lastfm(files: dict[str, Path], max_users: int | None, account: Account) -> Source:
    """Reads ``userid-timestamp-artid-artname-traid-traname.tsv``.

    A track without a MusicBrainz id is known by its artist's and its own name, a tab between them.

    Args:
        files: "listens".
        max_users: only the first so many users of the file; None is all.
        account: of the rows.

    Raises:
        DataError: for a bad line, naming it.
    """
    file = files["listens"]
    users: dict[object, None] = {}
    parts, n_read = [], 0
    described: dict[str, tuple[str, str, str]] = {}
    for block in blocks(file):
        rows = frame_of(block, file, dict.fromkeys(COLUMNS, "str"), "\t")
        n_read += len(rows)
        rows = rows[with_first_users(rows["user_id"], users, max_users)]
        named = rows["artist"] + "\t" + rows["title"]
        rows = rows.assign(item_id=rows["track_id"].where(rows["track_id"] != "", named))
        first = rows.drop_duplicates("item_id")
        texts = first[["item_id", "title", "artist"]].itertuples(index=False, name=None)
        described = {item_id: (item_id, *rest) for item_id, *rest in texts} | described
        parts.append(rows[["user_id", "item_id", "timestamp", "line"]])
    if not parts:
        raise DataError(f"{file} holds no rows: fetch it again")
    # Newest first: where two times are the same, the lower row is the earlier one.
    events = pd.concat(parts, ignore_index=True)[::-1].reset_index(drop=True)
    items = pd.DataFrame(list(described.values()), columns=["item_id", "title", "artist"])
    n_named = int(items["item_id"].str.contains("\t", regex=False).sum())
    account.note(
        f"items: {n_named} of {len(items)} tracks have no MusicBrainz id, and are known by the "
        "names of artist and track"
    )
    note_broken(items, account)
    account.read("interactions", n_read)
    account.drop("interactions", n_read - len(events), f"not of the first {max_users} users")
    account.read("items", len(items))
    return Source(
        Table(events.drop(columns="line"), str(file), events["line"].to_numpy(), "line"),
        Table(items, "items", np.arange(len(items)), "row"),
        text=("title", "artist"),
        scenario="music",
        defaults=SESSIONS,
    )
