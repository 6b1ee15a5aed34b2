"""Computes the cells of a sweep, each in a process of its own, and says what failed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.cell import WITH_INPUT, write_order
from benchmarks.cells import Cell, pretraining_of
from benchmarks.records import Place, Record, is_old, read_record

REPOSITORY = Path(__file__).parents[1]
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Threads of workers side by side only wait for each other."""


@dataclass(frozen=True)
class Engine:
    """How cells are computed; nothing here changes a result.

    Attributes:
        engine: "processes" of this machine, or tasks of a "ray" cluster. All its nodes must see the
            output folder and this checkout with its Python under the same paths, and have the
            server's key in their environment. A task asks for one CPU and no GPU.
        address: of a running Ray cluster, or "auto" for the one that this machine is a node of; by
            default one of ``workers`` CPUs is started here.
        workers: cells at once; a running cluster has as many as CPUs.
        fresh: compute again what other code, or another version of a package, has made. By
            default it is kept, and tables say so.
        print_commands: print one command for each missing cell, for Slurm and the like, and compute
            none. In any order: a cell computes the pre-training that it starts from if it must.
    """

    engine: Literal["processes", "ray"] = "processes"
    address: str | None = None
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
            print(shell_command_of(order))
        return Sweep([], {})
    failures = compute(orders, engine) if orders else {}
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


def compute(orders: Sequence[Path], engine: Engine) -> dict[str, str]:
    """Carries out the orders and shows how far they are; returns what the failed ones said.

    Raises:
        SystemExit: if the user interrupts it; nothing that it started goes on.
    """
    failures: dict[str, str] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Cells take minutes: the default's estimate would forget the last one before the next is done.
    with Progress(*columns, console=console, speed_estimate_period=float("inf")) as progress:
        bar = progress.add_task(f"0 of {len(orders)} cells", total=len(orders))
        with closing(_outcomes(orders, engine, progress)) as outcomes:
            try:
                for n, (name, said) in enumerate(outcomes, start=1):
                    if said is not None:
                        failures[name] = said
                        console.print(f"failed: {name}")
                    elif not console.is_terminal:
                        console.print(f"done: {name} ({n} of {len(orders)})", soft_wrap=True)
                    description = f"{n} of {len(orders)} cells"
                    progress.update(bar, advance=1, description=description)
            except KeyboardInterrupt:
                raise SystemExit("interrupted; the same command goes on from here") from None
    return failures


def _outcomes(
    orders: Sequence[Path], engine: Engine, progress: Progress
) -> Generator[tuple[str, str | None]]:
    if engine.engine == "processes":
        return in_processes(orders, engine.workers, progress)
    from benchmarks.ray_engine import on_ray

    return on_ray(orders, engine.address, engine.workers)


def in_processes(
    orders: Sequence[Path], workers: int, progress: Progress
) -> Generator[tuple[str, str | None]]:
    """Carries out each order in a process of its own.

    Args:
        orders: what to do.
        workers: processes at once.
        progress: shows what runs.

    Yields:
        Of each order, as it ends, its name, and what it said if it failed.
    """

    def run(order: Path) -> str | None:
        line = progress.add_task(f"  {order.stem}", total=None)
        try:
            return run_order(order, alive)
        finally:
            progress.remove_task(line)

    reads, writes = os.pipe()
    # However this ends, the other end of the pipe is closed first, and so the processes end; the
    # threads can then be waited for.
    with open(reads, "rb") as alive, ThreadPoolExecutor(workers) as pool, open(writes, "wb"):
        jobs = {pool.submit(run, order): order.stem for order in orders}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_order(order: Path, alive: IO[bytes]) -> str | None:
    """Carries out one order in a process of its own, which ends when ``alive`` does.

    Returns:
        What it said if it failed.
    """
    done = subprocess.run(
        [*command_of(order), WITH_INPUT],
        cwd=REPOSITORY,
        env=os.environ | ONE_THREAD,
        stdin=alive,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    number = -done.returncode
    ended = f"killed by signal {number} ({signal.strsignal(number)})" if number > 0 else ""
    return f"{done.stderr.strip()}\n{ended}".strip()


def shell_command_of(order: Path) -> str:
    """The command that carries out an order, for a shell in any folder."""
    threads = [f"{name}={value}" for name, value in ONE_THREAD.items()]
    return f"cd {shlex.quote(str(REPOSITORY))} && {shlex.join([*threads, *command_of(order)])}"


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
