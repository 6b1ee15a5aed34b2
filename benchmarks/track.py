"""Logs the records and tables of a sweep to Weights & Biases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.records import Place, Record, cell_of_record
from benchmarks.series import training_curve
from benchmarks.tables import Table
from recsim_envs.files import content_hash

CONFIG = ("cell", "label", "data", "reward_hashes", "code", "revision", "versions", "wall_s")
"""What a run's config has of a record."""


def track(records: Sequence[Record], tables: Sequence[Table], place: Place, project: str) -> None:
    """Logs one run a record, grouped by environment and method, and one with the tables.

    A run's id is its content's hash: the same record, logged again, is no second run.

    Args:
        records: of the sweep's cells.
        tables: what was made of them.
        place: where the policies are; the runs' files are in ``wandb`` beside them.
        project: the runs'.
    """
    check_installed()
    for record in records:
        _track_record(record, place, project)
    if tables:
        _track_tables(tables, place, project)


def check_installed() -> None:
    """Ends the command, before a sweep that takes hours, if W&B is not installed.

    Raises:
        SystemExit: with what to install.
    """
    try:
        import wandb  # noqa: F401
    except ModuleNotFoundError:
        raise SystemExit("--track needs W&B: pip install 'recsim-ialp[tracking]'") from None


def _track_record(record: Record, place: Place, project: str) -> None:
    import wandb

    run = _start(
        record,
        place,
        project=project,
        name=f"{record['variant']}_seed{record['seed']}",
        group=record["cell"]["simulation"]["env"],
        job_type=record["variant"],
        config={name: record[name] for name in CONFIG},
    )
    with run:
        run.define_metric("*", step_metric="steps")
        for point in record.get("points", ()):
            measures = _numbers("test", point)
            del measures["test/steps"]
            run.log({"steps": point["steps"], **measures})
        for measure in ("return", "length"):
            curve = training_curve([record], measure)
            if curve is not None:
                for steps, mean in zip(curve.steps.tolist(), curve.mean.tolist(), strict=True):
                    run.log({"steps": steps, f"train/{measure}": mean})
        for name, measures in record.get("references", {}).items():
            run.summary.update(_numbers(f"test/{name}", measures))
        folder = place.policy(cell_of_record(record))
        if record["policy"] is not None and folder.is_dir():
            policy = wandb.Artifact(folder.name, "policy", metadata={"hash": record["policy"]})
            policy.add_dir(str(folder))
            run.log_artifact(policy)


def _track_tables(tables: Sequence[Table], place: Place, project: str) -> None:
    import wandb

    texts = {table.name: {"title": table.title, "notes": table.notes} for table in tables}
    content = [table.markdown() for table in tables]
    run = _start(
        content, place, project=project, name="tables", job_type="tables", config={"tables": texts}
    )
    with run:
        rows = {t.name: wandb.Table(list(t.columns), [list(row) for row in t.rows]) for t in tables}
        run.log(rows)


def _start(content: Any, place: Place, **arguments: Any) -> Any:
    """Starts a run that is given neither the command line, nor the console, nor any code."""
    import wandb

    settings = wandb.Settings(
        silent=True, console="off", save_code=False, x_disable_machine_info=True
    )
    place.output.mkdir(parents=True, exist_ok=True)
    number = content_hash(json.dumps(content, sort_keys=True).encode())
    return wandb.init(dir=place.output, id=number, settings=settings, **arguments)


def _numbers(prefix: str, measures: Record) -> dict[str, float]:
    """The measures without their intervals."""
    return {
        f"{prefix}/{name}": value for name, value in measures.items() if not isinstance(value, list)
    }
