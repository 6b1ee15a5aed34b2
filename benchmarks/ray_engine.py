"""Computes the cells of a sweep as tasks of a Ray cluster, which places and repeats them."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.engine import run_order

RETRIES = 3
"""Lost nodes that a cell survives; one that is done by then is not computed again."""


def on_ray(
    orders: Sequence[Path], address: str | None, workers: int
) -> Generator[tuple[str, str | None]]:
    """Carries out each order as one task of a Ray cluster.

    Args:
        orders: what to do; in a folder that all nodes see.
        address: of a running cluster, or "auto"; None starts one on this machine.
        workers: CPUs of the latter.

    Yields:
        Of each order, as it ends, its name, and what it said if it failed.

    Raises:
        SystemExit: if Ray is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise SystemExit("--engine ray needs Ray: pip install 'recsim-ialp[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    connect = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if address is None:
        connect("local", num_cpus=workers, include_dashboard=False)
    else:
        connect(address)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(carry_out)
        names = {task.remote(order): order.stem for order in orders}
        waiting = list(names)
        while waiting:
            (done,), waiting = ray.wait(waiting)
            try:
                said = ray.get(done)
            except ray.exceptions.RayError as error:  # as when the retries are used up
                said = str(error)
            yield names[done], said
    finally:
        ray.shutdown()


def carry_out(order: Path) -> str | None:
    """Carries out an order; if Ray ends this task, or its node is lost, the cell's process ends."""
    reads, writes = os.pipe()
    with open(reads, "rb") as alive, open(writes, "wb"):
        return run_order(order, alive)
