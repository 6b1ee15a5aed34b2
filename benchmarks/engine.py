"""Computes the cells of a sweep, each in a process of its own, and says what failed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.cell import write_order
from benchmarks.cells import Cell, pretraining_of
from benchmarks.records import Place, Record, is_old, read_record

REPOSITORY = Path(__file__).parents[1]
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Threads of workers side by side only wait for each other."""


@dataclass(frozen=True)
class Engine:
    """How cells are computed; nothing here changes a result.

    Attributes:
        workers: cells at once.
        fresh: compute again what an older revision or another version of a package has made. By
            default it is kept, and tables say so.
        print_commands: print one command for each missing cell, for Slurm and the like, and compute
            none. In any order: a cell computes the pre-training that it starts from if it must.
    """

    workers: int = 2
    fresh: bool = False
    print_commands: bool = False


@dataclass(frozen=True)
class Sweep:
    """What became of the cells.

    Attributes:
        records: of those that are done, in the cells' order.
        failures: what the others said, by the names of their records.
    """

    records: list[Record]
    failures: dict[str, str]


def run_all(cells: Sequence[Cell], place: Place, engine: Engine) -> Sweep:
    """Computes what is missing of ``cells``, and of the pre-trainings that they start from.

    A cell that fails is reported and the others go on, but for those that start from it.
    """
    wanted = {place.file(cell): cell for cell in _with_pretrainings(cells)}
    missing = [cell for cell in wanted.values() if not is_done(cell, place, engine.fresh)]
    # Pre-trainings first, then what needs none: no worker waits for another's.
    missing.sort(key=lambda cell: (not cell.variant.is_pretraining, needs_another(cell)))
    orders = [write_order(cell, place, engine.fresh) for cell in missing]
    if engine.print_commands:
        for order in orders:
            print(shlex.join(command_of(order)))
        return Sweep([], {})
    failures = compute(orders, engine.workers) if orders else {}
    records = [record for file in wanted if (record := read_record(file))]
    return Sweep(records, failures)


def is_done(cell: Cell, place: Place, fresh: bool) -> bool:
    """Whether the cell's record is there, and of the policy that it should start from.

    Args:
        cell: the cell.
        place: where the files are.
        fresh: whether a record of older code does not count.
    """
    record = read_record(place.file(cell))
    if record is None or (fresh and is_old(record)):
        return False
    needed = pretraining_of(cell)
    if needed is None:
        return True
    pretrained = read_record(place.file(needed))
    return pretrained is not None and pretrained["policy"] == record["pretrained"]


def compute(orders: Sequence[Path], workers: int) -> dict[str, str]:
    """Computes each cell in a process of its own; returns what the failed ones said."""
    failures: dict[str, str] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        ThreadPoolExecutor(workers) as pool,
    ):
        bar = progress.add_task("cells", total=len(orders))
        jobs = {pool.submit(run_order, order): order.stem for order in orders}
        for job in as_completed(jobs):
            name, said = jobs[job], job.result()
            if said is not None:
                failures[name] = said
                progress.console.print(f"failed: {name}")
            progress.update(bar, advance=1, description=f"cells (last: {name})")
    return failures


def run_order(order: Path) -> str | None:
    """Carries out one order in a process of its own; returns what it said if it failed."""
    done = subprocess.run(
        command_of(order),
        cwd=REPOSITORY,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    ended = f"killed by signal {-done.returncode}" if done.returncode < 0 else ""
    return f"{done.stderr.strip()}\n{ended}".strip()


def command_of(order: Path) -> list[str]:
    """The command that carries out an order; it is run in the repository's folder."""
    return [sys.executable, "-m", "benchmarks.cell", str(order)]


def needs_another(cell: Cell) -> bool:
    """Whether the cell starts from another one's policy."""
    return pretraining_of(cell) is not None


def _with_pretrainings(cells: Sequence[Cell]) -> Iterator[Cell]:
    for cell in cells:
        needed = pretraining_of(cell)
        if needed is not None:
            yield needed
        yield cell


def print_failures(sweep: Sweep, console: Console | None = None) -> None:
    """Prints what failed, with the end of its traceback, and ends the command if anything did.

    Raises:
        SystemExit: if a cell failed.
    """
    console = console or Console(stderr=True)
    for name, said in sweep.failures.items():
        console.print(f"\n[bold]failed: {name}[/bold]")
        console.print(said, markup=False, highlight=False)
    if sweep.failures:
        raise SystemExit(f"{len(sweep.failures)} cells failed; the same command tries them again")
