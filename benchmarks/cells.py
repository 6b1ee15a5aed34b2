"""Cells of a benchmark: each is computed once, recorded as one JSON file, and found again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.records import Record
from recsim_envs.files import write_whole
from recsim_envs.provenance import git_revision, versions
from recsim_envs.report.play import make_users


def record_of(
    file: Path, settings: Record, env: str, data: str, compute: Callable[[], Any]
) -> Record:
    """Returns a cell's record: the file's, if its settings and data are these, or a new one.

    Args:
        file: of the record; written as a whole or not at all.
        settings: whatever decides the cell's result, as JSON.
        env: id of the environment.
        data: name of its data.
        compute: makes the cell's ``rows``, in one thread.
    """
    simulators = [make_users(env, 1, data=data, split=s).simulator for s in ("train", "test")]
    about: Record = {
        "settings": settings,
        "data_hash": simulators[0].dataset.hash,
        "reward_hashes": [simulator.reward_hash for simulator in simulators],
    }
    if file.is_file():
        done: Record = json.loads(file.read_text())
        if all(done[key] == value for key, value in about.items()):
            return done
    torch.set_num_threads(1)
    start = time.perf_counter()
    rows = compute()
    about |= {
        "revision": git_revision(),
        "versions": versions(),
        "wall_s": round(time.perf_counter() - start, 1),
        "rows": rows,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps(about, indent=1) + "\n").encode())
    return about


def run_all(cell: Callable[..., Any], cells: Sequence[tuple[Any, ...]], workers: int) -> list[Any]:
    """Calls ``cell(*arguments)`` for each of ``cells``; results in order.

    Several workers are processes; a single one is this process.
    """
    if workers == 1:
        return [cell(*arguments) for arguments in tqdm(cells, desc="cells", unit="cell")]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = [pool.submit(cell, *arguments) for arguments in cells]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="cells", unit="cell"):
            job.result()
    return [job.result() for job in jobs]
