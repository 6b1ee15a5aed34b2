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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsim_envs.arrays import Float32Array

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
    time REAL NOT NULL                -- unix seconds
);
"""


class VerdictCache:
    """The verdicts of one judge in a file that many judges and processes may share.

    Args:
        file: made if missing.
        judge: JSON-able description of all that decides an answer: weights, adapter, template.

    Attributes:
        file: as given.
        judge: as given.

    Raises:
        sqlite3.DatabaseError: if ``file`` is not a verdict cache.
    """

    def __init__(self, file: str | Path, judge: dict[str, Any]) -> None:
        self.file, self.judge = Path(file), judge
        self._description = json.dumps(judge, sort_keys=True)
        self._database = _open(self.file)
        with self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO judges (description) VALUES (?)", (self._description,)
            )
        (self._judge,) = self._database.execute(
            "SELECT id FROM judges WHERE description = ?", (self._description,)
        ).fetchone()

    def get(self, question: str) -> Float32Array | None:
        """Returns the scores stored for ``question``, or None if it was never answered."""
        row = self._database.execute(
            "SELECT scores FROM verdicts WHERE key = ?", (self._key(question),)
        ).fetchone()
        return None if row is None else np.frombuffer(row[0], dtype="<f4")

    def put(self, question: str, scores: Float32Array) -> Float32Array:
        """Stores scores (k,) and returns what now stands in the file.

        Where another process was faster, its answer stands: both then use the same one.
        """
        blob = np.asarray(scores, dtype="<f4").tobytes()
        with self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?)",
                (self._key(question), self._judge, question, blob, time.time()),
            )
        stored = self.get(question)
        assert stored is not None
        return stored

    def __len__(self) -> int:
        """The number of this judge's verdicts."""
        query = "SELECT COUNT(*) FROM verdicts WHERE judge = ?"
        (count,) = self._database.execute(query, (self._judge,)).fetchone()
        return int(count)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def _key(self, question: str) -> bytes:
        return hashlib.sha256(f"{self._description}\n{question}".encode()).digest()


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
    names = ("judge", "verdicts", "first", "last")
    return [dict(zip(names, (json.loads(row[0]), *row[1:]), strict=True)) for row in rows]


def read_verdicts(file: Path) -> Iterator[dict[str, Any]]:
    """Yields each verdict as JSON-able data: judge, question, scores in nats, time.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with _existing(file) as database:
        rows = database.execute(
            "SELECT description, question, scores, time FROM verdicts JOIN judges ON judge = id "
            "ORDER BY time"
        )
        for description, question, blob, when in rows:
            yield {
                "judge": json.loads(description),
                "question": json.loads(question),
                "scores": np.frombuffer(blob, dtype="<f4").tolist(),
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
        chosen = [i for i, text in known if model is None or json.loads(text)["model"] == model]
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


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file, timeout=WAIT_SECONDS)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # Enough in WAL mode for a killed process; a power cut may lose the last verdicts only.
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(SCHEMA)
    except sqlite3.DatabaseError as error:
        database.close()
        raise type(error)(f"{file} cannot be used as a verdict cache: {error}") from error
    return database


@contextlib.contextmanager
def _existing(file: Path) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file: give the path of a verdict cache")
    with contextlib.closing(_open(file)) as database:
        yield database
