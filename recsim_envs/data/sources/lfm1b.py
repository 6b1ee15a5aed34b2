"""LFM-1b: 1.09e9 listening events, read once from end to end in bounded memory.

Source: Schedl, "The LFM-1b Dataset for Music Retrieval and Recommendation" (ICMR 2016).

Only the events of the first users are kept. After each block what was kept goes into a file beside
the data, named by the place in the events' file where the block ended: an import that was
interrupted continues there.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from recsim_envs.arrays import BoolArray
from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.reading import Reading
from recsim_envs.data.sources.blocks import BLOCK, blocks, frame_of
from recsim_envs.data.sources.source import Source
from recsim_envs.errors import DataError
from recsim_envs.files import write_whole
from recsim_envs.notices import logger

EVENTS = {
    "user_id": "int32",
    "artist_id": "int32",
    "album_id": "int32",
    "track_id": "int32",
    "timestamp": "int64",
}
KEPT = ("user_id", "album_id", "track_id", "timestamp", "line")
SESSIONS = Reading(session_gap=28, min_length=8)
"""How the listening histories of LFM-1M are cut."""


def read_lfm1b(
    files: dict[str, Path], max_users: int | None, cache: Path, account: Account
) -> Source:
    """Reads the events of the first users, and the names of what they listened to.

    An album is known of an event only: a track's is the one that stands beside it most often among
    the events kept, of several the one with the lowest id.

    Args:
        files: "listens", "artists", "albums" and "tracks".
        max_users: only the first so many users of the file.
        cache: a folder for the progress; the caller deletes it.
        account: of the rows.

    Raises:
        DataError: for a bad line, naming it, or without ``max_users``.
    """
    file = files["listens"]
    if max_users is None:
        raise DataError(
            f"{file} may hold 1.09e9 events of 120,000 users, more than one data set can: say how "
            "many users to take, as --max-users 1000"
        )
    events, n_read = read_events(file, max_users, cache)
    account.read("interactions", n_read)
    account.drop("interactions", n_read - len(events), f"not of the first {max_users} users")
    items = _describe(events, files)
    note_broken(items, account)
    account.read("items", len(items))
    frame = events.rename(columns={"track_id": "item_id"})[["user_id", "item_id", "timestamp"]]
    return Source(
        Table(frame, str(file), events["line"].to_numpy(), "line"),
        Table(items, "items", np.arange(len(items)), "row"),
        text=("title", "album", "artist"),
        scenario="music",
        defaults=SESSIONS,
    )


def read_events(
    file: Path, max_users: int, cache: Path, size: int = BLOCK
) -> tuple[pd.DataFrame, int]:
    """Reads the events of the first users, from where an earlier call was interrupted.

    The file need not be grouped by user, so it is read to its end.

    Args:
        file: the events.
        max_users: how many users.
        cache: a folder for the progress.
        size: bytes to read at once.

    Returns:
        Columns :data:`KEPT`, in the order of the file; and how many events were read.

    Raises:
        DataError: for a bad line, naming it.
    """
    about = file.stat()
    state = f"{file.resolve()} {about.st_size} {about.st_mtime_ns} {max_users}"
    folder = cache / hashlib.sha256(state.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    parts, place, line, users = _progress(folder)
    if place:
        logger.info(f"continuing the import of {file.name} after line {line - 1:,}")
    # How much a packed file holds is not known before its end.
    total = None if file.suffix.casefold() == ".gz" else about.st_size
    bar = tqdm(total=total, initial=place, unit="B", unit_scale=True, desc=file.name)
    with bar:
        for block in blocks(file, place, line, size):
            rows = frame_of(block, file, EVENTS, "\t")
            rows = rows[with_first_users(rows["user_id"], users, max_users)][list(KEPT)]
            line = block.first + block.n_lines
            _save(folder, block.end, line, users, rows)
            parts.append(rows)
            bar.update(block.end - bar.n)
    if line == 1:
        raise DataError(f"{file} holds no rows: fetch it again")
    return pd.concat(parts, ignore_index=True), line - 1


def with_first_users(
    values: pd.Series, users: dict[object, None], max_users: int | None
) -> BoolArray:
    """Which rows, (n,), are of the first users; ``users`` gains those that are met here."""
    for user in values.unique().tolist():
        if max_users is None or len(users) < max_users:
            users.setdefault(user)
    found: BoolArray = values.isin(list(users)).to_numpy()
    return found


def note_broken(items: pd.DataFrame, account: Account) -> None:
    """Notes how many names hold bytes that are no UTF-8."""
    n = int(sum(items[column].str.contains("\ufffd", regex=False) for column in items).gt(0).sum())
    if n:
        account.note(f"texts: {n} items have names with bytes that are no UTF-8, read as \ufffd")


def _save(
    folder: Path, place: int, line: int, users: dict[object, None], rows: pd.DataFrame
) -> None:
    content = io.BytesIO()
    columns = {column: rows[column].to_numpy() for column in KEPT}
    np.savez(content, next_line=line, users=np.array(list(users), dtype=np.int32), **columns)
    write_whole(folder / f"{place:015}.npz", content.getvalue())


def _progress(folder: Path) -> tuple[list[pd.DataFrame], int, int, dict[object, None]]:
    """What was kept, the place and line to continue at, and the users so far."""
    parts, place, line, users = [], 0, 1, {}
    for file in sorted(folder.glob("*.npz")):
        try:
            with file.open("rb") as stream, np.load(stream) as part:
                parts.append(pd.DataFrame({column: part[column] for column in KEPT}))
                line, users = int(part["next_line"]), dict.fromkeys(part["users"].tolist())
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{file} is damaged ({error}): delete the folder {folder} to begin anew"
            ) from error
        place = int(file.stem)
    return parts, place, line, users


def _describe(events: pd.DataFrame, files: dict[str, Path]) -> pd.DataFrame:
    """The tracks of the events, in the order of their ids: title, album, artist, artist_id."""
    pairs = events.groupby(["track_id", "album_id"]).size().reset_index(name="n")
    pairs = pairs.sort_values(["track_id", "n", "album_id"], ascending=[True, False, True])
    album = pairs.drop_duplicates("track_id").set_index("track_id")["album_id"]
    named = {"id": "int64", "name": "str", "artist_id": "int64"}
    tracks = _named(files["tracks"], named, album.index)
    albums = _named(files["albums"], named, pd.Index(album.unique()))
    artists = _named(
        files["artists"], {"id": "int64", "name": "str"}, pd.Index(tracks["artist_id"].unique())
    )
    artist_id = tracks["artist_id"].reindex(album.index)  # NaN of a track without a name
    names = [table["name"].to_dict() for table in (tracks, albums, artists)]
    return pd.DataFrame(
        {
            "item_id": album.index.astype(str),
            "title": [names[0].get(track, "") for track in album.index],
            "album": [names[1].get(number, "") for number in album],
            "artist": [names[2].get(number, "") for number in artist_id],
            "artist_id": ["" if np.isnan(number) else f"{number:.0f}" for number in artist_id],
        }
    )


def _named(file: Path, types: dict[str, str], ids: pd.Index) -> pd.DataFrame:
    """The rows of the wanted ids, by id, the first of each."""
    found = []
    for block in blocks(file):
        rows = frame_of(block, file, types, "\t").drop(columns="line")
        found.append(rows[rows["id"].isin(ids)])
    if not found:
        raise DataError(f"{file} holds no rows: fetch it again")
    return pd.concat(found).drop_duplicates("id").set_index("id")
