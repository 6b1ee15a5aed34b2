"""Which publisher's files a folder holds, and the data set that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recsim_envs.data.account import Account
from recsim_envs.data.build import build
from recsim_envs.data.coat import read_coat
from recsim_envs.data.columns import to_table
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import PLAIN, Reading
from recsim_envs.data.sources.amazon import OF_2018, OF_2023, read_amazon
from recsim_envs.data.sources.download import origin_notes
from recsim_envs.data.sources.formats import FORMATS
from recsim_envs.data.sources.lastfm import read_lastfm
from recsim_envs.data.sources.lfm1b import read_lfm1b
from recsim_envs.data.sources.movielens import read_1m, read_20m, read_100k
from recsim_envs.data.sources.own import read_own
from recsim_envs.data.sources.recbole import read_recbole
from recsim_envs.data.sources.source import Source
from recsim_envs.data.store import import_cache
from recsim_envs.data.wording import choose_words
from recsim_envs.errors import DataError

SHOWN = 12
"""File names in an error."""


class Found(NamedTuple):
    """What a folder holds.

    Attributes:
        folder: the folder.
        format: the name of its format.
        files: the files that are read, by what they hold.
    """

    folder: Path
    format: str
    files: dict[str, Path]

    def __str__(self) -> str:
        """One line for the screen and the account."""
        return f"recognised {self.format}: {', '.join(file.name for file in self.files.values())}"


def recognise(folder: Path) -> Found:
    """Tells the format of a folder by the names of its files, in any case, packed or not.

    Raises:
        DataError: for no format, two formats, a missing file, or two files for one table.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: give the one that holds the data's files")
    # Some systems put hidden files beside the others, named after them.
    there = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    names = {path: _plain(path.name) for path in there if path.is_file()}
    found = [
        (form, file)
        for form in FORMATS
        for file, name in names.items()
        if re.fullmatch(form.marks, name)
    ]
    kinds = list(dict.fromkeys(form.name for form, _ in found))
    if not kinds:
        raise DataError(_unrecognised(folder, [p.name + "/" * p.is_dir() for p in there]))
    if len(kinds) > 1:
        marks = [f"{kind} ({next(f.name for k, f in found if k.name == kind)})" for kind in kinds]
        raise DataError(f"{folder} holds {' and '.join(marks)}: give each its own folder")
    form = found[0][0]
    files = {}
    for role, (pattern, usual) in (form.needed | form.also).items():
        of_role = [file for file, name in names.items() if re.fullmatch(pattern, name)]
        if len(of_role) > 1:
            raise DataError(
                f"{folder} holds {' and '.join(file.name for file in of_role)}, but one file of "
                f"{role} is needed: leave one there"
            )
        if of_role:
            files[role] = of_role[0]
        elif role in form.needed:
            raise DataError(f"{folder / usual} is missing, but the other files of {form.name} are")
    return Found(folder, form.name, files)


def import_found(
    found: Found,
    name: str,
    *,
    text: Sequence[str] = (),
    scenario: str | None = None,
    item: str | None = None,
    behavior: str | None = None,
    attributes: Sequence[str] = (),
    split_seed: int = 0,
    reading: Reading = PLAIN,
) -> Dataset:
    """Reads what was recognised.

    The progress of a long import lies in :func:`recsim_envs.data.store.import_cache` of the name.

    Args:
        found: of :func:`recognise`.
        name: how results call this data.
        text: the item columns that a judge reads; empty is the format's own.
        scenario: as of :func:`recsim_envs.data.tables.from_frame`; None is the format's own.
        item: the same, as the next two.
        behavior: how an item is chosen.
        attributes: what the text consists of.
        split_seed: of the shuffle that holds sequences out.
        reading: how the interactions are read; where it says nothing, as the format's publisher.

    Raises:
        DataError: naming file and line, or an argument that would be ignored.
    """
    # Before the reading, which may take long; a format's columns can be named.
    choose_words(scenario or "products", item, behavior, attributes, text or ("title",))
    account = Account()
    for note in (str(found), *origin_notes(found.folder)):
        account.note(note)
    source = _read(found, reading, import_cache(name), account)
    if source.scenario == "clothes":
        _refuse_words_for_coat(text, scenario, item, behavior, attributes)
    text = tuple(text) or source.text
    if not text:
        raise DataError(
            f"text is empty: name the columns of {source.items.name} that describe an item, for "
            f"example --text title; its columns are {list(source.items.frame.columns)}"
        )
    defaults = source.defaults
    if reading.all_ratings:
        # Of what is for choices nothing would be used.
        defaults = Reading(rating_scale=defaults.rating_scale)
    return build(
        name,
        source.events,
        source.items,
        source.users,
        reading.over(defaults),
        account,
        text=text,
        user_text=source.user_text,
        words=choose_words(scenario or source.scenario, item, behavior, attributes, text),
        replica=False,
        split_seed=split_seed,
    )


def _refuse_words_for_coat(
    text: Sequence[str],
    scenario: str | None,
    item: str | None,
    behavior: str | None,
    attributes: Sequence[str],
) -> None:
    given = {
        "--text": " ".join(text),
        "--scenario": None if scenario == "clothes" else scenario,
        "--item": item,
        "--behavior": behavior,
        "--attributes": " ".join(attributes),
    }
    for argument, value in given.items():
        if value:
            raise DataError(
                f"{argument} {value} would change nothing, for Coat has its own wording: leave it "
                "out"
            )


def _read(found: Found, reading: Reading, cache: Path, account: Account) -> Source:
    files = found.files
    match found.format:
        case "own tables":
            return read_own(files, account)
        case "RecBole":
            return read_recbole(files, account)
        case "MovieLens-100K":
            return read_100k(files, account)
        case "MovieLens-1M":
            return read_1m(files, account)
        case "MovieLens-20M":
            return read_20m(files, account)
        case "Amazon-2018":
            return read_amazon(files, OF_2018, account)
        case "Amazon-2023":
            return read_amazon(files, OF_2023, account)
        case "LFM-1b":
            return read_lfm1b(files, reading.max_users, cache, account)
        case "Last.fm-1K":
            return read_lastfm(files, reading.max_users, account)
    events, items, users = read_coat(found.folder)
    tables = (to_table(events, "interactions"), to_table(items, "items"), to_table(users, "users"))
    return Source(*tables, ("text",), ("text",), "clothes")


def _plain(name: str) -> str:
    plain = name.casefold()
    # Parquet is packed by itself.
    return plain if plain.endswith(".parquet.gz") else plain.removesuffix(".gz")


def _unrecognised(folder: Path, names: list[str]) -> str:
    known = "; ".join(
        f"{form.name}: {', '.join(usual for _, usual in form.needed.values())}" for form in FORMATS
    )
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    there = ", ".join(names[:SHOWN]) + more if names else "nothing"
    return f"{folder} holds {there}, which is none of what is recognised ({known})"
