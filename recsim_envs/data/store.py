"""Where prepared data lives: the replicas inside the package, and what ``recsim prepare`` built.

Both have the same layout, so that one loader serves both::

    dataset.json                    what the data is, and the hash of every other file
    items.csv.gz, interactions.csv.gz, users.csv.gz (Coat)
    card.json                       what was fitted, on what, how good it is
    train.safetensors               sequences: reward model of the training split
    test.safetensors                sequences: another seed, fitted on all sequences
    test_disjoint.safetensors       sequences: fitted on the held-out sequences alone
    ratings.safetensors             Coat: ``train`` (DeepFM) and ``test`` (completed) ratings
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from recsim_envs.data.dataset import Dataset
from recsim_envs.data.stored import ASIDE, CARD, OLD, present
from recsim_envs.errors import DataError

REPLICAS = Path(__file__).parents[1] / "replicas"
LONGEST_NAME = 100
"""Bytes; file systems allow some 255 with what is put before and after a name."""


def data_home() -> Path:
    """Where prepared data lives: ``$RECSIM_DATA``, or the user's data folder."""
    return Path(os.environ.get("RECSIM_DATA") or platformdirs.user_data_dir("recsim"))


def import_cache(name: str) -> Path:
    """Where a long import of data of this name keeps its progress."""
    return data_home() / ".imports" / name


def prepared_names() -> list[str]:
    """The names of all prepared data sets."""
    home = data_home()
    found = {file.parent.name for file in home.glob(f"*/{CARD}")}
    # Those that a process was killed in replacing.
    killed = home.glob(f".*{ASIDE}/{OLD}/{CARD}")
    found |= {file.parents[1].name[1 : -len(ASIDE)] for file in killed}
    return sorted(name for name in found if not name.startswith("."))


def check_name(name: str) -> str:
    """Returns the name of a data set, which is one of a folder in :func:`data_home`.

    Raises:
        DataError: for anything that could lead out of it, or is no name on some system.
    """
    bad = set('/\\:*?"<>|') & set(name)
    if (
        name in ("", "replica")
        or bad
        or name[0] in ".~ "
        or name[-1] in ". "
        or not name.isprintable()
        or len(name.encode()) > LONGEST_NAME
    ):
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
        raise DataError(
            f"name={shown!r} cannot be used: choose another, such as 'my-shop', of at most "
            f'{LONGEST_NAME} letters, without / \\ : * ? " < > | and without a dot before it'
        )
    return name


def data_folder(data: str, replica: str) -> Path:
    """Finds prepared data.

    Args:
        data: "replica", or the name given to ``recsim prepare``.
        replica: which of the package's replicas "replica" stands for.

    Raises:
        DataError: if nothing was prepared under that name, or it is none.
    """
    if data == "replica":
        return REPLICAS / replica
    folder = data_home() / check_name(data)
    if not (present(folder) / CARD).is_file():
        known = ", ".join(repr(name) for name in ["replica", *prepared_names()])
        raise DataError(
            f"data={data!r} is not prepared in {data_home()}: use one of {known}, "
            f"or build it with `recsim prepare {data} FOLDER`"
        )
    return folder


def named_folder(name: str) -> Path:
    """Finds prepared data by its name, a replica by "replica/industry" and so on.

    Raises:
        DataError: if there is none of that name.
    """
    kind, _, which = name.partition("/")
    if kind != "replica":
        return data_folder(name, "")
    known = sorted(folder.parent.name for folder in REPLICAS.glob(f"*/{CARD}"))
    if which not in known:
        names = ", ".join(f"replica/{each}" for each in known)
        raise DataError(f"data={name!r} is no replica: use one of {names}, or a prepared name")
    return data_folder("replica", which)


def load_data(name: str) -> Dataset:
    """Loads the data set in :func:`named_folder`."""
    return Dataset.load(named_folder(name))
