"""Computes one cell of a sweep in a process of its own: what the engines start.

python -m benchmarks.cell runs/cells/a-ialp_ap_seed0_0123456789.json
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.cells import Cell, read_cell
from benchmarks.experiment import run_cell
from benchmarks.records import Place
from llm_oracle.judge import JudgeError
from recsim_envs.files import write_whole
from recsim_envs.notices import show_notices

WITH_INPUT = "--end-with-input"
"""Ends the process when its standard input ends: an engine's cells do not outlive it."""


def write_order(cell: Cell, place: Place, fresh: bool) -> Path:
    """Writes down what to compute, for another process to read.

    Args:
        cell: what.
        place: where the files are, for a process in any folder.
        fresh: whether to compute it again.

    Returns:
        The file, of the record's name.
    """
    place = replace(place, output=place.output.resolve(), cache=place.cache.resolve())
    order = {
        "cell": asdict(cell),
        "place": {"output": str(place.output), "cache": str(place.cache)},
        "api_key_env": place.api_key_env,
        "max_requests": place.max_requests,
        "fresh": fresh,
    }
    file = place.output / "cells" / place.file(cell).name
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps(order, indent=1) + "\n").encode())
    return file


def carry_out(file: Path) -> Path:
    """Computes what :func:`write_order` wrote down; returns the record's file."""
    order = json.loads(file.read_text())
    folders = {name: Path(path) for name, path in order["place"].items()}
    place = Place(**folders, api_key_env=order["api_key_env"], max_requests=order["max_requests"])
    cell = read_cell(order["cell"])
    run_cell(cell, place, order["fresh"])
    return place.file(cell)


def end_with_input() -> None:
    """Ends this process once its standard input does, as it does when its engine is killed."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)  # files are written whole or not at all

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    show_notices()
    if WITH_INPUT in sys.argv:
        end_with_input()
    try:
        carry_out(Path(sys.argv[1]))
    except JudgeError as error:
        sys.exit(f"benchmarks.cell: {error}")
