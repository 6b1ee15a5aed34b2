"""Verdicts on disk: a question that a judge has answered once is never asked again.

A SQLite file in WAL mode. Several processes may read and write it at once, and a process that is
killed leaves it usable: a transaction is there as a whole or not at all.

The priors of likelihood scoring are kept here too, as the answers of a judge of their own
(``"scoring": "prior"``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsim_envs.arrays import Float32Array
from recsim_envs.files import parse_json

WAIT_SECONDS = 120.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS judges (
    id INTEGER PRIMARY KEY,
    description TEXT NOT NULL UNIQUE  -- JSON: model, adapter, template version, ...
);
CREATE TABLE IF NOT EXISTS verdicts (
    key BLOB PRIMARY KEY,             -- SHA-256 of the judge's description and the question
    judge INTEGER NOT NULL REFERENCES judges(id),
    question TEXT NOT NULL,           -- JSON: the prompt and what was scored after it
    scores BLOB NOT NULL,             -- little-endian float32, nats, one a candidate
    time REAL NOT NULL,               -- unix seconds
    digest BLOB                       -- of key, scores and time, against damage
);
"""
VERSION = 1
"""``user_version`` of the file. 0: verdicts without a digest."""


class VerdictCache:
    """The verdicts of one judge in a file that many judges and processes may share.

    Args:
        file: made if missing.
        judge: JSON-able description of all that decides an answer: weights, adapter, template.

    Attributes:
        file: as given.
        judge: as given.

    Raises:
        sqlite3.DatabaseError: if ``file`` is not a verdict cache, or damaged; so do all methods.
    """

    def __init__(self, file: str | Path, judge: dict[str, Any]) -> None:
        self.file, self.judge = Path(file), judge
        self._description = json.dumps(judge, sort_keys=True)
        self._database = _open(self.file)
        with _named(self.file):
            with self._database:
                self._database.execute(
                    "INSERT OR IGNORE INTO judges (description) VALUES (?)", (self._description,)
                )
            row = self._database.execute(
                "SELECT id FROM judges WHERE description = ?", (self._description,)
            ).fetchone()
            if row is None:
                raise sqlite3.DatabaseError("the table of judges does not keep what it is given")
        (self._judge,) = row

    def get(self, question: str) -> Float32Array | None:
        """Returns the scores stored for ``question``, or None if it was never answered."""
        key = self._key(question)
        with _named(self.file):
            row = self._database.execute(
                "SELECT scores, time, digest FROM verdicts WHERE key = ?", (key,)
            ).fetchone()
            return None if row is None else _scores(key, *row)

    def put(self, question: str, scores: Float32Array) -> Float32Array:
        """Stores scores (k,) and returns what now stands in the file.

        Where another process was faster, its answer stands: both then use the same one.
        """
        blob = np.asarray(scores, dtype="<f4").tobytes()
        key, now = self._key(question), time.time()
        with _named(self.file), self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?, ?)",
                (key, self._judge, question, blob, now, _digest(key, blob, now)),
            )
        stored = self.get(question)
        return np.frombuffer(blob, dtype="<f4") if stored is None else stored

    def __len__(self) -> int:
        """The number of this judge's verdicts."""
        query = "SELECT COUNT(*) FROM verdicts WHERE judge = ?"
        with _named(self.file):
            (count,) = self._database.execute(query, (self._judge,)).fetchone()
        return int(count)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def _key(self, question: str) -> bytes:
        return _key_of(self._description, question)


def cache_stats(file: Path) -> list[dict[str, Any]]:
    """Returns, a judge, its description, its number of verdicts, and the times of first and last.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with _existing(file) as database:
        rows = database.execute(
            "SELECT description, COUNT(time), MIN(time), MAX(time) FROM judges "
            "LEFT JOIN verdicts ON judge = id GROUP BY id ORDER BY id"
        ).fetchall()
        if not all(isinstance(when, float | None) for row in rows for when in row[2:]):
            raise sqlite3.DatabaseError("a verdict's time is no number")
        names = ("judge", "verdicts", "first", "last")
        return [dict(zip(names, (_judge_of(row[0]), *row[1:]), strict=True)) for row in rows]


def read_verdicts(file: Path) -> Iterator[dict[str, Any]]:
    """Yields each verdict as JSON-able data: judge, question, scores in nats, time.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with _existing(file) as database:
        rows = database.execute(
            "SELECT description, question, key, scores, time, digest FROM verdicts "
            "JOIN judges ON judge = id ORDER BY time"
        )
        for description, question, key, blob, when, digest in rows:
            judge = _judge_of(description)
            if not isinstance(question, str) or _key_of(description, question) != key:
                raise sqlite3.DatabaseError("a question is not the one that was answered")
            yield {
                "judge": judge,
                "question": json.loads(question),
                "scores": _scores(key, blob, when, digest).tolist(),
                "time": when,
            }


def prune_verdicts(file: Path, before: float | None = None, model: str | None = None) -> int:
    """Deletes verdicts, gives their space back to the disk, and returns how many they were.

    Args:
        file: the cache.
        before: delete what is older than this time (unix seconds); default: of any age.
        model: delete only the verdicts of judges on this model; default: of any.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with _existing(file) as database:
        known = database.execute("SELECT id, description FROM judges").fetchall()
        chosen = [i for i, text in known if model is None or _judge_of(text).get("model") == model]
        places = ",".join("?" * len(chosen))
        with database:
            deleted = database.execute(
                f"DELETE FROM verdicts WHERE judge IN ({places}) AND time < ?",
                (*chosen, time.time() if before is None else before),
            ).rowcount
            database.execute("DELETE FROM judges WHERE id NOT IN (SELECT judge FROM verdicts)")
        database.execute("VACUUM")
    return deleted


def question_key(prompt: str, answers: Sequence[str]) -> str:
    """The form in which a question is stored: what the model reads, and what is scored after it."""
    return json.dumps([prompt, *answers], ensure_ascii=False)


def _key_of(description: str, question: str) -> bytes:
    return hashlib.sha256(f"{description}\n{question}".encode()).digest()


def _digest(key: bytes, scores: bytes, when: float) -> bytes:
    return hashlib.sha256(key + struct.pack("<d", when) + scores).digest()[:8]


def _scores(key: bytes, blob: Any, when: Any, digest: Any) -> Float32Array:
    """The scores of a row, which may hold anything."""
    if not isinstance(blob, bytes) or len(blob) % 4 or not isinstance(when, float):
        raise sqlite3.DatabaseError("a verdict is not of this version, or damaged")
    if digest != _digest(key, blob, when):
        raise sqlite3.DatabaseError("a verdict was changed: its scores have not the hash in it")
    return np.frombuffer(blob, dtype="<f4")


def _judge_of(description: Any) -> dict[str, Any]:
    """The description of a judge, which may be anything."""
    if not isinstance(description, str):
        raise sqlite3.DatabaseError("a judge's description is no text")
    return parse_json(description.encode(), "a judge's description")


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    with _named(file):
        database = sqlite3.connect(file, timeout=WAIT_SECONDS)
        try:
            # What a stranger put into a schema is not run, and there is nothing of it in ours.
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA cell_size_check = ON")
            strange = "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
            if row := database.execute(strange).fetchone():
                raise sqlite3.DatabaseError(f"it holds {row[0]!r}, a view or a trigger")
            _use_wal(database)
            # Enough in WAL mode for a killed process; a power cut may lose the last verdicts only.
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(SCHEMA)
            _upgrade(database)
        except sqlite3.DatabaseError:
            database.close()
            raise
    return database


def _use_wal(database: sqlite3.Connection) -> None:
    """Takes the file to WAL mode, for which SQLite does not wait while another process does so."""
    give_up = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _upgrade(database: sqlite3.Connection) -> None:
    """Gives the verdicts of an earlier version their digests."""
    if database.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    database.execute("BEGIN IMMEDIATE")  # one process upgrades, the others wait
    with database:
        if database.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return
        columns = [row[1] for row in database.execute("PRAGMA table_info(verdicts)")]
        if "digest" not in columns:
            database.execute("ALTER TABLE verdicts ADD COLUMN digest BLOB")
        rows = database.execute("SELECT key, scores, time FROM verdicts").fetchall()
        for key, blob, when in rows:
            if not all(isinstance(*pair) for pair in ((key, bytes), (blob, bytes), (when, float))):
                raise sqlite3.DatabaseError("a verdict is no verdict")
            digest = _digest(key, blob, when)
            database.execute("UPDATE verdicts SET digest = ? WHERE key = ?", (digest, key))
        database.execute(f"PRAGMA user_version = {VERSION}")


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Names the file in whatever SQLite, or a value in it that is none of ours, raises."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if str(file) in str(error):
            raise
        raise type(error)(f"{file} cannot be used as a verdict cache: {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise sqlite3.DatabaseError(f"{file} is damaged: {error}") from error


@contextlib.contextmanager
def _existing(file: Path) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file: give the path of a verdict cache")
    with contextlib.closing(_open(file)) as database, _named(file):
        yield database
