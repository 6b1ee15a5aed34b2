"""The same small search for every online agent, on training users of one data set.

    python -m benchmarks.search --env recsim/Industry-v0 --data my-shop

Each setting of :data:`GRID` trains on users of ``split="train"`` and is played, greedily, with
other users of the same split: the test split is not touched. The best by mean Return stands,
frozen, in ``benchmarks.agents.SEARCHED`` and serves every data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import tyro

from benchmarks.agents import FROM_A_POLICY, FROM_SCRATCH
from benchmarks.cells import Evaluation, Online, Settings, Simulation, Start, Variant, cell_of
from benchmarks.engine import Engine, print_failures, run_all
from benchmarks.records import Place, Record
from benchmarks.tables import Table, by_variant, estimate, provenance, values_at, write_tables
from recsim_envs.notices import show_notices

GRID: dict[str, dict[str, tuple[Any, ...]]] = {
    "DQN": {
        "learning_rate": (1e-4, 1e-3),
        "n_steps": (1, 3),
        "target_update_interval": (25, 500),
        "update_factor": (1, 2),
    },
    "PG": {
        "learning_rate": (1e-4, 1e-3, 3e-3),
        "ent_coef": (0.0, 0.01),
        "n_steps": (4, 16),
    },
    "A2C": {
        "learning_rate": (1e-4, 7e-4, 3e-3),
        "ent_coef": (0.0, 0.01),
        "n_steps": (4, 16),
    },
    "A-iALP_ft": {
        "learning_rate": (1e-4, 3e-4, 1e-3),
        "update_factor": (1, 2),
    },
    "A-iALP_ap": {
        "learning_rate": (1e-4, 3e-4, 1e-3),
        "update_factor": (1, 2),
    },
}
"""What is tried, in all combinations; ``update_factor`` multiplies the settings' gradient steps."""
AGENTS: tuple[tuple[str, Start], ...] = (
    *((name, "text") for name in FROM_A_POLICY),
    *((name, start) for name in FROM_SCRATCH for start in ("random", "text")),
)
"""Who is searched for, each from its starts."""
FIRST_SEED = 100
"""The comparison's seeds begin at 0."""


def settings_of(name: str) -> Iterator[dict[str, Any]]:
    """All combinations of an agent's grid."""
    grid = GRID[name]
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def variants_of(name: str, start: Start) -> list[Variant]:
    """An agent's settings, as variants of it."""
    found = []
    for tried in settings_of(name):
        words = "_".join(f"{key}-{value}" for key, value in tried.items())
        label = ", ".join(f"{key}={value}" for key, value in tried.items())
        found.append(Variant(f"search.{name.lower()}.{start}.{words}", label, name, start, tried))
    return found


def main(
    simulation: Simulation,
    place: Place,
    engine: Engine,
    online_steps: int = 4_000,
    updates_per_step: float = 0.125,
    sessions: int = 250,
    seeds: int = 1,
    only: tuple[str, ...] = (),
) -> None:
    """Runs or resumes the search, and prints each agent's settings, best first.

    Args:
        simulation: the users.
        place: where the files are.
        engine: how the cells are computed.
        online_steps: recommendations to users of the training split.
        updates_per_step: gradient steps for each of them, times a setting's ``update_factor``.
        sessions: of each result, with other users of the training split.
        seeds: number of seeds, from 100 on.
        only: agents and starts, such as "DQN.text"; by default all.
    """
    known = [f"{name}.{start}" for name, start in AGENTS]
    unknown = [each for each in only if each not in known]
    if unknown:
        raise SystemExit(f"--only {unknown[0]!r}: the search knows {', '.join(known)}")
    online = Online(online_steps, updates_per_step, epoch=online_steps)
    testing = Evaluation(sessions, curve_points=1, split="train")
    settings = Settings(simulation, online=online, testing=testing)
    by_agent = {
        (name, start): variants_of(name, start)
        for name, start in AGENTS
        if not only or f"{name}.{start}" in only
    }
    cells = [
        cell_of(settings, variant, FIRST_SEED + seed)
        for seed in range(seeds)
        for variants in by_agent.values()
        for variant in variants
    ]
    sweep = run_all(cells, place, engine)
    tables = []
    for (name, start), variants in by_agent.items():
        ids = {variant.id for variant in variants}
        records = [record for record in sweep.records if record["variant"] in ids]
        if records:
            title = f"{name}, start {start}: training users of {simulation.env}"
            tables.append(search_table(f"{name}_{start}", title, records))
            tables[-1].print()
    write_tables(tables, place.output / "search", "search")
    print_failures(sweep)
    print(f"tables in {place.output / 'search'}")


def search_table(name: str, title: str, records: Sequence[Record]) -> Table:
    """One agent's settings by mean Return over seeds, best first."""
    found = {
        mine[0]["label"]: estimate(list(values_at(mine, "end", "reward").values()))
        for mine in by_variant(records).values()
    }
    order = sorted(found, key=lambda label: -found[label].mean)
    rows = tuple((label, found[label].printed(1)) for label in order)
    return Table(name, title, ("setting", "Return"), rows, provenance(records))


if __name__ == "__main__":
    show_notices()
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
