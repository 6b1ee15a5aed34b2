"""Turns records into tables: means with intervals over seeds, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from scipy import stats

from benchmarks.cells import REFERENCES
from benchmarks.published import MEASURES, PUBLISHED
from benchmarks.records import Record, data_label, is_old, made_with
from recsim_envs.files import write_whole

OLD = "(old)"
"""Beside whatever other code, or another version of a package, has made."""
DIGITS = {"reward": 1, "length": 1, "average_reward": 2, "distinct": 2}
TITLES = {"reward": "R", "length": "Len", "average_reward": "R_avg", "distinct": "distinct"}


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        mean: over seeds.
        low: lower end; NaN where nothing is known of it.
        high: upper end.
        n: seeds.
    """

    mean: float
    low: float
    high: float
    n: int

    def printed(self, digits: int, sign: bool = False) -> str:
        """As text: mean [low, high]."""
        form = f"{'+' if sign else ''}.{digits}f"
        if not np.isfinite(self.low):
            return format(self.mean, form)
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"


@dataclass(frozen=True)
class Table:
    """A table for people and programs.

    Attributes:
        name: of its files.
        title: above it.
        columns: their names.
        rows: one text a column.
        notes: below it.
        numbers: the same for programs: a dict of plain values for each number.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    numbers: tuple[dict[str, Any], ...] = ()

    def markdown(self) -> str:
        """As a section of Markdown."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def print(self, console: Console | None = None) -> None:
        """Prints it to the terminal."""
        table = RichTable(title=escape(self.title), caption=escape("\n".join(self.notes)))
        table.caption_justify = "left"
        for number, column in enumerate(self.columns):
            table.add_column(escape(column), justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        (console or Console(width=150)).print(table)


def write_tables(tables: Sequence[Table], folder: Path, name: str, head: str = "") -> None:
    """Writes ``name.md`` with all tables below ``head``, and each one's numbers as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    text = head + "\n".join(table.markdown() for table in tables)
    write_whole(folder / f"{name}.md", text.encode())
    for table in tables:
        numbers = table.numbers or [
            dict(zip(table.columns, row, strict=True)) for row in table.rows
        ]
        text = pd.DataFrame(numbers).to_csv(index=False)
        write_whole(folder / f"{table.name}.csv", text.encode())


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of some seeds' results and Student's 95% interval, honest for five as for fifty."""
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return Estimate(mean, np.nan, np.nan, len(numbers))
    half = float(stats.t.ppf(0.975, len(numbers) - 1) * stats.sem(numbers))
    return Estimate(mean, mean - half, mean + half, len(numbers))


def at(record: Record, when: str) -> Record | None:
    """What a record says of a time: "e=0", "e=1", "e=2" or "end"; None if it was not tested.

    References are the same at all times.
    """
    points: list[Record] = record["points"]
    if when == "end" or record["cell"]["variant"]["agent"] == REFERENCES:
        return points[-1]
    e = int(when.removeprefix("e="))
    if record["cell"]["online"] is None:  # iALP, which never learns online
        return points[-1] if e == 0 else None
    due = e * record["cell"]["online"]["epoch"]
    full = record["cell"]["testing"]["sessions"]
    users = record["cell"]["simulation"]["users"]  # a step's recommendations
    for point in points:
        if due <= point["steps"] < due + users and point["sessions"] >= full:
            return point
    return None


def values_at(records: Sequence[Record], when: str, measure: str) -> dict[int, float]:
    """A measure by seed, of the records that were tested at that time."""
    found = {record["seed"]: at(record, when) for record in records}
    return {seed: float(point[measure]) for seed, point in found.items() if point is not None}


def by_variant(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each variant; a reference policy counts as one of its own."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if "references" not in record:
            found.setdefault(record["variant"], []).append(record)
            continue
        for name, point in record["references"].items():
            one = {key: value for key, value in record.items() if key != "references"}
            one |= {"variant": name, "label": name, "points": [{"steps": 0, **point}]}
            found.setdefault(name, []).append(one)
    return found


def estimate_at(records: Sequence[Record], when: str, measure: str) -> Estimate | None:
    """Mean and interval of a variant; of one seed the interval over its sessions."""
    values = list(values_at(records, when, measure).values())
    if not values:
        return None
    found = estimate(values)
    point = next(point for record in records if (point := at(record, when)))
    if found.n == 1 and f"{measure}_interval" in point:
        low, high = point[f"{measure}_interval"]
        return Estimate(found.mean, low, high, 1)
    return found


def label_of(records: Sequence[Record]) -> str:
    """A variant's label; it says so if a record is old."""
    label: str = records[0]["label"]
    return f"{label} {OLD}" if any(map(is_old, records)) else label


def results_table(
    name: str,
    title: str,
    records: Sequence[Record],
    times: Sequence[str],
    measures: Sequence[str] = MEASURES,
    notes: Sequence[str] = (),
) -> Table:
    """The paper's form: a row a method, R, Len and R_avg at some times, the paper's beside them.

    Args:
        name: of the table's files.
        title: above it.
        records: of all variants, in the rows' order; those of one environment.
        times: "e=0", "e=1", "e=2" or "end".
        measures: names in a point of a record.
        notes: below the table, before what it was made with.
    """
    users = records[0]["cell"]["simulation"]
    # The paper knows one history, in which all that is shown enters.
    published = {
        when: PUBLISHED.get(when, {}).get(users["env"], {}) if users["history"] == "shown" else {}
        for when in times
    }
    columns = ["method"]
    for when in times:
        columns += [f"{TITLES[measure]}, {when}" for measure in measures]
        if published[when]:
            columns.append("paper")
    rows, numbers = [], []
    for variant, mine in by_variant(records).items():
        old = any(map(is_old, mine))
        row = [label_of(mine)]
        for when in times:
            theirs = published[when].get(variant)
            for measure in measures:
                found = estimate_at(mine, when, measure)
                row.append(found.printed(DIGITS[measure]) if found else "-")
                if found:
                    numbers.append(
                        {
                            "env": users["env"],
                            "variant": variant,
                            "when": when,
                            "measure": TITLES[measure],
                            **asdict(found),
                            "paper": dict(zip(MEASURES, theirs or (), strict=False)).get(measure),
                            "old": old,
                        }
                    )
            if published[when]:
                row.append(" / ".join(f"{number:g}" for number in theirs) if theirs else "-")
        if any(cell != "-" for cell in row[1:]):
            rows.append(tuple(row))
    below = (*notes, *provenance(records))
    return Table(name, title, tuple(columns), tuple(rows), below, tuple(numbers))


def differences(
    ours: Sequence[Record], others: Sequence[Record], when: str, measure: str = "reward"
) -> NDArray[np.float64]:
    """Ours less theirs, seed by seed, (n,): both met the same test users."""
    mine, theirs = values_at(ours, when, measure), values_at(others, when, measure)
    return np.array([value - theirs[seed] for seed, value in mine.items() if seed in theirs])


def provenance(records: Sequence[Record]) -> tuple[str, ...]:
    """What a table was made with: data, seeds, revisions, and what of it is old."""
    n_seeds = len({record["seed"] for record in records})
    over = f"{n_seeds} seeds (Student's t)" if n_seeds > 1 else "the sessions of 1 seed (bootstrap)"
    labels = sorted({data_label(record["data"]) for record in records})
    found = sorted({str(record["code"]) for record in records})
    notes = [
        f"[..] 95% interval over {over}; R_avg = R / Len",
        f"data: {', '.join(labels)}; code {', '.join(found)}",
    ]
    if any(map(is_old, records)):
        now = made_with()["code"]
        notes.append(f"{OLD}: other code or versions than now ({now}); --fresh computes it again")
    return tuple(notes)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
