"""The formats that are recognised, by the names of their files."""

from __future__ import annotations

import re
from typing import NamedTuple

OWN = r"\.(csv|tsv|jsonl|parquet)"


class Format(NamedTuple):
    """The files of a publisher's format, by patterns of their names in lower case without ``.gz``.

    Attributes:
        name: of the format.
        marks: a file that tells it.
        needed: pattern and usual name of each file that must be there.
        also: the same of each that may.
    """

    name: str
    marks: str
    needed: dict[str, tuple[str, str]]
    also: dict[str, tuple[str, str]] = {}


def _as_named(**files: str) -> dict[str, tuple[str, str]]:
    return {role: (re.escape(name.casefold()), name) for role, name in files.items()}


FORMATS = (
    Format(
        "own tables",
        f"(interactions|items){OWN}",
        {
            "items": (f"items{OWN}", "items.csv"),
            "interactions": (f"interactions{OWN}", "interactions.csv"),
        },
        {"users": (f"users{OWN}", "users.csv")},
    ),
    Format(
        "RecBole",
        r".+\.inter",
        {"interactions": (r".+\.inter", "NAME.inter"), "items": (r".+\.item", "NAME.item")},
        {"users": (r".+\.user", "NAME.user")},
    ),
    Format(
        "MovieLens-100K",
        r"u\.(data|item)",
        _as_named(ratings="u.data", movies="u.item"),
        _as_named(users="u.user"),
    ),
    Format(
        "MovieLens-1M",
        r"(ratings|movies)\.dat",
        _as_named(ratings="ratings.dat", movies="movies.dat"),
        _as_named(users="users.dat"),
    ),
    Format(
        "MovieLens-20M",
        r"(ratings|movies)\.csv",
        _as_named(ratings="ratings.csv", movies="movies.csv"),
    ),
    Format(
        "Amazon-2018",
        r"meta_.+\.json|.+_5\.json",
        {
            "reviews": (r"(?!meta_).+\.json", "CATEGORY_5.json.gz"),
            "meta": (r"meta_.+\.json", "meta_CATEGORY.json.gz"),
        },
    ),
    Format(
        "Amazon-2023",
        r"meta_.+\.jsonl",
        {
            "reviews": (r"(?!meta_).+\.jsonl", "CATEGORY.jsonl"),
            "meta": (r"meta_.+\.jsonl", "meta_CATEGORY.jsonl"),
        },
    ),
    Format(
        "LFM-1b",
        r"lfm-1b_les\.txt",
        _as_named(
            listens="LFM-1b_LEs.txt",
            artists="LFM-1b_artists.txt",
            albums="LFM-1b_albums.txt",
            tracks="LFM-1b_tracks.txt",
        ),
    ),
    Format(
        "Last.fm-1K",
        r"userid-timestamp-artid-artname-traid-traname\.tsv",
        _as_named(listens="userid-timestamp-artid-artname-traid-traname.tsv"),
    ),
    Format("Coat", r"train\.ascii", _as_named(train="train.ascii", test="test.ascii")),
)
