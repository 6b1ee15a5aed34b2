"""How long it takes until something is there: whole processes, from their start to their end.

    python -m benchmarks.throughput.start

Every command has its turn in each round, and the median counts. Beside the seconds on the clock are
those of the processor, which other load of a machine changes less; the ratios are to the floor,
which imports NumPy and Gymnasium and does nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import tyro
from rich.console import Console
from rich.table import Table

from recsim_envs.provenance import git_revision, versions

FLOOR = "import numpy, gymnasium"
RECSIM = "import sys; from llm_oracle.cli import main; sys.argv = ['recsim', {}]; main()"
MAKE = "import gymnasium, recsim_envs; gymnasium.make('recsim/{}-v0')"
STARTS = {
    FLOOR: FLOOR,
    "import recsim_envs": "import recsim_envs",
    "make Coat-v0": MAKE.format("Coat"),
    "make Industry-v0": MAKE.format("Industry"),
    "make LFM-v0": MAKE.format("LFM"),
    "import llm_oracle": "import llm_oracle",
    "import ialp_agents": "import ialp_agents",
    "recsim --help": RECSIM.format("'--help'"),
    "recsim prepare --help": RECSIM.format("'prepare', '--help'"),
    "recsim judge-report --help": RECSIM.format("'judge-report', '--help'"),
}
"""What is started, and the Python that each process runs."""


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        rounds: how often each is started, after once that does not count.
        output: the JSON record.
    """

    rounds: int = 5
    output: Path = Path("runs/start.json")


@dataclass(frozen=True)
class Start:
    """One process.

    Attributes:
        wall: seconds on the clock.
        processor: seconds of the processor, user's and system's.
    """

    wall: float
    processor: float


def main(settings: Settings) -> None:
    """Times all, prints the table and writes the record."""
    time_starts(1)  # what is on the disk is in memory then, and the bytecode is there
    found = time_starts(settings.rounds)
    record = {
        "revision": git_revision(),
        "versions": {"python": sys.version.split()[0], **versions()},
        "rounds": settings.rounds,
        "seconds": {name: [asdict(start) for start in starts] for name, starts in found.items()},
    }
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(record, indent=1) + "\n")
    table = Table("a whole process", title=f"medians of {settings.rounds}, {git_revision()}")
    for heading in ("s", "ratio", "processor s", "ratio"):
        table.add_column(heading, justify="right")
    for name, starts in found.items():
        cells = []
        for kind in ("wall", "processor"):
            own, floor = (median(asdict(s)[kind] for s in each) for each in (starts, found[FLOOR]))
            cells += [f"{own:.2f}", f"{own / floor:.1f}"]
        table.add_row(name, *cells)
    Console().print(table)
    print(f"record in {settings.output}")


def time_starts(rounds: int) -> dict[str, list[Start]]:
    """Starts each of :data:`STARTS` ``rounds`` times, in turns.

    Raises:
        RuntimeError: if one fails.
    """
    found: dict[str, list[Start]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, code in STARTS.items():
            found[name].append(_time(name, code))
    return found


def _time(name: str, code: str) -> Start:
    used, start = os.times(), time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    wall, now = time.perf_counter() - start, os.times()
    if result.returncode:
        raise RuntimeError(f"{name!r} failed: {result.stderr}")
    before = used.children_user + used.children_system
    return Start(wall, now.children_user + now.children_system - before)


if __name__ == "__main__":
    main(tyro.cli(Settings))
