"""Replaces a prepared folder as a whole, with what is built beside it.

No system has one call, in Python on each of them, that swaps two folders, and a link that could be
swapped would be no folder to who copies or deletes it. So there are two renames: what was there
goes aside, then the new folder takes its place. Between them, and for ever where the machine stops
there, readers find the old folder where it was put, see :func:`recsim_envs.data.stored.present`,
and the next replacement puts it back. They check by the hashes in ``dataset.json`` that they have
not read a part of each.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from recsim_envs.data.stored import ABOUT, CARD, OLD, aside
from recsim_envs.errors import DataError
from recsim_envs.files import flush_folder

LOCK = "lock"
NEW = "new-"


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to build in, which takes the place of ``folder`` at the end.

    Where the block ends with an exception, or the process with it, nothing is replaced. What it
    leaves beside ``folder`` when it is killed, the next one removes.

    Args:
        folder: made if missing; replaced if it is a prepared one, or empty.

    Raises:
        DataError: if another process is replacing it, it holds something else, or nothing can be
            written there; it is as it was.
    """
    folder = folder.resolve()
    home = aside(folder)
    lock = FileLock(home / LOCK)
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise DataError(
                f"another process is preparing {folder}: wait for it, or use another name"
            ) from error
        try:
            _put_back(folder, home / OLD)
            _remove_rest(home)  # of a process that was killed
            _check_replaceable(folder)
            # Of a new name, so that no two can ever write into one; and not private as mkdtemp's.
            build = home / f"{NEW}{secrets.token_hex(8)}"
            build.mkdir()
            yield build
            _swap(folder, build, home / OLD)
        finally:
            _put_back(folder, home / OLD)
            _remove_rest(home)
            with contextlib.suppress(OSError):  # some systems keep a file that is open
                (home / LOCK).unlink()
                home.rmdir()
            lock.release()
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error}): free space there, or name another folder in "
            "RECSIM_DATA. What was prepared there before is as it was"
        ) from error


def _put_back(folder: Path, old: Path) -> None:
    """Undoes the first half of a swap that had no second; the lock is held."""
    if old.is_dir() and not folder.is_dir():
        old.rename(folder)


def _remove_rest(home: Path) -> None:
    for rest in (*home.glob(f"{NEW}*"), home / OLD):
        shutil.rmtree(rest, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (
        any(folder.iterdir()) and not any((folder / name).is_file() for name in (ABOUT, CARD))
    ):
        raise DataError(f"{folder} exists and is no prepared data: choose another name, or move it")


def _swap(folder: Path, build: Path, old: Path) -> None:
    flush_folder(build)
    if folder.is_dir():
        folder.rename(old)
    build.rename(folder)  # if it cannot, the old one is put back
    flush_folder(folder.parent)
