"""What a report shows of some records, as plain numbers and texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from benchmarks.html_sessions import sample_pairs
from benchmarks.records import Record, data_label, is_old, made_with
from benchmarks.series import DRAWN, MEASURES, RECENT, Series, test_curve, training_curve
from benchmarks.tables import OLD, by_variant, estimate_at

CURVES = 20
"""In a plot; what is left out is named below it."""
KINDS = {
    "training": (f"while learning, mean of the {RECENT} latest sessions", "online steps"),
    "test": ("with test users", "online steps"),
    "pre-training": ("with test users, while pre-training with the judge", "verdicts"),
}
"""By kind of curve, what it shows and over what."""

Named = tuple[str, list[Record]]
"""A label and a variant's records, a seed each."""


def provenance(records: Sequence[Record], command: str) -> Record:
    """What the records were made with, and how to make them again."""
    packages: dict[str, set[str]] = {}
    for record in records:
        for name, version in record["versions"].items():
            packages.setdefault(name, set()).add(version)
    return {
        "command": command,
        "written": datetime.now(UTC).isoformat(" ", "minutes"),
        "code": sorted({str(record["code"]) for record in records}),
        "revisions": sorted({str(record["revision"]) for record in records}),
        "versions": {name: sorted(found) for name, found in packages.items()},
        "seeds": sorted({record["seed"] for record in records}),
        "cells": len(records),
        "wall_time": _duration(records),
        "machines": sorted({str(record["machine"]) for record in records}),
        "made": sorted({str(record["made"])[:10] for record in records}),
        "now": made_with()["code"],
        "old": [
            f"{r['label']}, seed {r['seed']}, {r['cell']['simulation']['env']}"
            for r in records
            if is_old(r)
        ],
    }


def environments(records: Sequence[Record]) -> list[Record]:
    """Plots and sample sessions of each environment: users, data and reward models."""
    found: dict[str, list[Record]] = {}
    for record in records:
        users = record["cell"]["simulation"]
        key = [users["env"], users["history"], record["data"], record["reward_hashes"]]
        found.setdefault(json.dumps(key, sort_keys=True), []).append(record)
    return [_environment(number, mine) for number, mine in enumerate(found.values())]


def _environment(number: int, records: list[Record]) -> Record:
    users, data = records[0]["cell"]["simulation"], records[0]["data"]
    variants = variants_of(records)
    return {
        "id": f"env{number}",
        "title": f"{users['env']}, history {users['history']}",
        "data": data_label(data),
        "replica": data["replica"],
        "data_hash": data["hash"],
        "reward_hashes": records[0]["reward_hashes"],
        "seeds": sorted({record["seed"] for record in records}),
        "cells": len(records),
        "wall_time": _duration(records),
        "plots": [
            {"id": f"env{number}-{kind}-{measure}", **plot}
            for measure in MEASURES
            for kind in KINDS
            if (plot := _plot(kind, measure, variants))
        ],
        "sessions": sample_pairs(records),
    }


def variants_of(records: Sequence[Record]) -> list[Named]:
    """The records by variant and setting; labels tell apart what differs in a setting alone.

    A sweep may hold a variant more than once, as A-iALP under several judges: no seeds of one
    experiment.
    """
    by_settings: dict[str, list[Record]] = {}
    for record in records:
        settings = {name: value for name, value in record["cell"].items() if name != "seed"}
        by_settings.setdefault(json.dumps(settings, sort_keys=True), []).append(record)
    namesakes: dict[str, list[list[Record]]] = {}
    for alike in by_settings.values():
        for name, mine in by_variant(alike).items():
            namesakes.setdefault(name, []).append(mine)
    found = []
    for several in namesakes.values():
        cells = pd.json_normalize([mine[0]["cell"] for mine in several])
        # What a cell has not is no word of its label, but tells it from those that have it.
        cells = cells.drop(columns="seed").astype(object)
        cells = cells.where(cells.notna(), "").astype(str)
        differing = cells.loc[:, cells.nunique() > 1]
        for mine, (_, row) in zip(several, differing.iterrows(), strict=True):
            own = (f"{name.split('.')[-1]} {value}" for name, value in row.items() if value)
            words = [mine[0]["label"], *own]
            old = f" {OLD}" if any(map(is_old, mine)) else ""
            found.append((", ".join(words) + old, mine))
    return found


def _plot(kind: str, measure: str, variants: Sequence[Named]) -> Record | None:
    """Curves over the seeds; None if nobody has one."""
    learned, tested = MEASURES[measure]
    online = [named for named in variants if named[1][0]["cell"]["online"] is not None]
    still = [named for named in variants if named[1][0]["cell"]["online"] is None]
    if kind == "pre-training":
        online = [(label, mine) for label, mine in still if len(mine[0]["points"]) > 1]
        still = [named for named in still if named not in online]
    found, missing = [], []
    for label, mine in online:
        curve = training_curve(mine, learned) if kind == "training" else test_curve(mine, tested)
        if curve is None:
            missing.append(label)
        else:
            found.append(_curve(label, mine, curve))
    if not found and not missing:
        return None
    notes = []
    left_out = [curve["label"] for curve in found[CURVES:]]
    if left_out:
        notes.append(f"{CURVES} of {len(found)} curves; left out: {'; '.join(left_out)}.")
    if missing:
        notes.append(f"Too few sessions ended for a curve of {'; '.join(missing)}.")
    title, over = KINDS[kind]
    return {
        "title": f"{measure} {title}",
        "x": over,
        "y": measure,
        "curves": found[:CURVES],
        "lines": [_line(label, mine, tested) for label, mine in still],
        "left_out": left_out,
        "notes": notes,
    }


def _curve(label: str, records: Sequence[Record], curve: Series) -> Record:
    arrays = {name: array.tolist() for name, array in curve._asdict().items()}
    return {"label": label, "variant": records[0]["variant"], "seeds": len(records), **arrays}


def _line(label: str, records: Sequence[Record], measure: str) -> Record:
    """The last test of what learns from no user; the legend switches on what is not in DRAWN."""
    name = records[0]["variant"]
    found: dict[str, Any] = {"label": label, "variant": name, "shown": name in DRAWN}
    end = estimate_at(records, "end", measure)
    return found | (asdict(end) if end else {})


def _duration(records: Sequence[Record]) -> str:
    return str(timedelta(seconds=round(sum(record["wall_s"] for record in records))))
