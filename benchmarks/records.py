"""A cell's record: one JSON file that says what was measured, and with what."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell, Simulation, read_cell
from recsim_envs.data.dataset import Dataset
from recsim_envs.files import file_hash, write_whole
from recsim_envs.provenance import git_revision, last_change, versions
from recsim_envs.report.play import make_users

Record = dict[str, Any]
POLICY_FILE = "policy.safetensors"
DECIDING = (
    "recsim_envs",
    "llm_oracle",
    "ialp_agents",
    *(f"benchmarks/{name}.py" for name in ("agents", "cells", "curve", "experiment")),
)
"""The code that decides a result; tables and reports do not."""


@dataclass(frozen=True)
class Place:
    """Where a sweep's files are; nothing here changes a result.

    Attributes:
        output: folder of the records and policies.
        cache: file of the language model's verdicts; a second run of the same asks it nothing.
        api_key_env: environment variable that holds a server's key; the key itself is in no file.
        max_requests: how many requests a process may send to a server in all; a cell has one of its
            own.
    """

    output: Path = Path("runs")
    cache: Path = Path("runs/verdicts.sqlite")
    api_key_env: str = "OPENAI_API_KEY"
    max_requests: int | None = None

    def file(self, cell: Cell) -> Path:
        """The record's file: another setting, data set or reward model is another file."""
        text = json.dumps(cell.what() | data_of(cell.simulation), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:10]
        users = cell.simulation
        folder = f"{users.env.split('/')[-1]}_{users.data}"
        return self.output / folder / f"{cell.variant.id}_seed{cell.seed}_{key}.json"

    def policy(self, cell: Cell) -> Path:
        """Folder of the policy that a pre-training leaves behind."""
        return self.file(cell).with_suffix("")


@cache
def data_of(users: Simulation) -> Record:
    """The data and the reward models, by content; read once a process."""
    simulators = [
        make_users(users.env, 1, data=users.data, split=split).simulator
        for split in ("train", "test")
    ]
    dataset = simulators[0].dataset
    return {
        "data": description_of(dataset),
        "reward_hashes": [simulator.reward_hash for simulator in simulators],
    }


def read_record(file: Path) -> Record | None:
    """A cell's record, or None where there is none, or its policy is not (any more) beside it."""
    if not file.is_file():
        return None
    record: Record = json.loads(file.read_text())
    if record["policy"] is not None:
        weights = file.with_suffix("") / POLICY_FILE
        if not weights.is_file() or file_hash(weights) != record["policy"]:
            return None
    return record


def write_record(file: Path, cell: Cell, results: Record, wall_s: float) -> Record:
    """Writes a cell's record, as a whole or not at all, and returns it."""
    weights = file.with_suffix("") / POLICY_FILE
    card = None if cell.judging is None else cell.judging.calibration
    record: Record = {
        "variant": cell.variant.id,
        "label": cell.variant.label,
        "seed": cell.seed,
        "cell": cell.what(),
        "calibration": None if card is None else asdict(card),
        **data_of(cell.simulation),
        **made_with(),
        "revision": git_revision(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_s": round(wall_s, 1),
        "policy": file_hash(weights) if weights.is_file() else None,
        **results,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps(record, separators=(",", ":")) + "\n").encode())
    return record


def cell_of_record(record: Record) -> Cell:
    """The cell that a record is of: :meth:`Cell.what` leaves label and whole calibration out."""
    found = record["cell"]
    variant = found["variant"] | {"label": record["label"]}
    judging = found["judging"]
    if judging is not None:
        judging = judging | {"calibration": record.get("calibration")}
    return read_cell(found | {"variant": variant, "judging": judging})


@cache
def made_with() -> Record:
    """The code that decides a result: its last change, and the packages' versions."""
    return {"code": last_change(*DECIDING), "versions": versions()}


def is_old(record: Record) -> bool:
    """Whether other code, or another version of a package, made it."""
    return any(record[name] != value for name, value in made_with().items())


def description_of(dataset: Dataset) -> Record:
    """What a record says of its data."""
    return {"name": dataset.name, "hash": dataset.hash, "replica": dataset.replica}


def data_label(data: Record) -> str:
    """Names the data in a title: a replica is called one, and the hash says which."""
    kind = "REPLICA (synthetic data)" if data["replica"] else f"{data['name']} (real data)"
    return f"{kind} {data['hash']}"
