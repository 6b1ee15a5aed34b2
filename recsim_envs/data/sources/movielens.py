"""MovieLens: 100K, 1M (and 10M), and the CSV files of 20M, 25M, 32M and "latest".

Source: Harper and Konstan, "The MovieLens Datasets: History and Context" (2015), and the README of
each data set. The older files are in Latin-1.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recsim_envs.data.account import Account
from recsim_envs.data.columns import Table
from recsim_envs.data.csv_table import read_csv
from recsim_envs.data.dataset import require_columns
from recsim_envs.data.packed import open_bytes
from recsim_envs.data.reading import Reading
from recsim_envs.data.sources.blocks import read_fields
from recsim_envs.data.sources.source import Source
from recsim_envs.errors import DataError

TEXT = ("title", "genres")
EVENTS = {"user_id": "int64", "item_id": "int64", "rating": "float64", "timestamp": "int64"}
MOVIES = {"item_id": "str", "title": "str", "genres": "str"}
USERS = {"user_id": "str", "gender": "str", "age": "str", "occupation": "str", "zip_code": "str"}
OLD_USERS = {
    "user_id": "str",
    "age": "str",
    "gender": "str",
    "occupation": "str",
    "zip_code": "str",
}
GENRES = (
    "unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy,"
    "Film-Noir,Horror,Musical,Mystery,Romance,Sci-Fi,Thriller,War,Western"
).split(",")
OLD_MOVIES = dict.fromkeys(
    ["item_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES], "str"
)
WHOLE_STARS = Reading(rating_scale=(1, 5), liked=4)
HALF_STARS = Reading(rating_scale=(0.5, 5), liked=4)


def read_100k(files: dict[str, Path], account: Account) -> Source:
    """Reads ``u.data`` (tabs), ``u.item`` and ``u.user`` (``|``, Latin-1).

    Args:
        files: "ratings", "movies" and perhaps "users".
        account: of the rows.

    Raises:
        DataError: for a bad line, naming it.
    """
    events = read_fields(files["ratings"], EVENTS, "\t")
    movies = _read_texts(files["movies"], OLD_MOVIES, "|")
    flags = movies.frame[list(GENRES)].eq("1")
    genres = [", ".join(flags.columns[row]) for row in flags.to_numpy()]
    movies = movies._replace(frame=movies.frame[["item_id", "title"]].assign(genres=genres))
    users = _read_texts(files["users"], OLD_USERS, "|") if "users" in files else None
    user_text = () if users is None else ("gender", "age", "occupation")
    return Source(events, movies, users, TEXT, user_text, defaults=WHOLE_STARS)


def read_1m(files: dict[str, Path], account: Account) -> Source:
    """Reads ``ratings.dat``, ``movies.dat`` and ``users.dat``, whose fields end at ``::``.

    Args:
        files: "ratings", "movies" and perhaps "users", which 10M, with its half stars, has not.
        account: of the rows.

    Raises:
        DataError: for a bad line, naming it.
    """
    events = read_fields(files["ratings"], EVENTS, "::")
    movies = _with_genres(_read_texts(files["movies"], MOVIES, "::"))
    if "users" not in files:
        return Source(events, movies, None, TEXT, defaults=HALF_STARS)
    users = _read_texts(files["users"], USERS, "::")
    return Source(events, movies, users, TEXT, ("gender", "age"), defaults=WHOLE_STARS)


def read_20m(files: dict[str, Path], account: Account) -> Source:
    """Reads ``ratings.csv`` and ``movies.csv``.

    Args:
        files: "ratings" and "movies".
        account: of the rows.

    Raises:
        DataError: for other columns or a bad line, naming it.
    """
    wanted = ["userId", "movieId", "rating", "timestamp"]
    with open_bytes(files["ratings"]) as stream:
        header = stream.readline().decode("utf-8-sig", "replace").strip().split(",")
    if header != wanted:
        raise DataError(
            f"{files['ratings']}, line 1: the columns are {header}, not MovieLens' {wanted}: if "
            "the files are your own, call them interactions.csv and items.csv"
        )
    events = read_fields(files["ratings"], EVENTS, ",", header=1)
    movies = read_csv(files["movies"], "items", "movieId", account)
    require_columns(movies.frame, ("movieId", "title", "genres"), movies.name)
    movies = movies._replace(frame=movies.frame.rename(columns={"movieId": "item_id"}))
    return Source(events, _with_genres(movies), None, TEXT, defaults=HALF_STARS)


def _with_genres(movies: Table) -> Table:
    genres: pd.Series = movies.frame["genres"].replace("(no genres listed)", "")
    return movies._replace(
        frame=movies.frame.assign(genres=genres.str.replace("|", ", ", regex=False))
    )


def _read_texts(file: Path, types: dict[str, str], separator: str) -> Table:
    # Any bytes are a text in Latin-1, but not in UTF-8, in which some copies are.
    with open_bytes(file) as stream:
        content = stream.read()
    try:
        content.decode()
    except UnicodeDecodeError:
        return read_fields(file, types, separator, encoding="latin-1")
    return read_fields(file, types, separator)
