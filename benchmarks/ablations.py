"""Which of the choices matter: one change at a time, over several seeds.

    python -m benchmarks.ablations pretraining --env recsim/Industry-v0 --data my-shop
    python -m benchmarks.ablations online --env recsim/Industry-v0 --data my-shop

`pretraining` measures iALP's Return on the test split before any user is met (e = 0) against the
number of verdicts; each variant changes what its name says in the first row, which has IALP's
defaults and the best start. `online` starts from the first row's policies and measures the Return
of the sessions that the agents learn from and, after them, on the test split. Seeds are shared, so
differences to the first row are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tyro

from benchmarks.cells import (
    Evaluation,
    Judging,
    Online,
    Pretraining,
    Settings,
    Simulation,
    cell_of,
)
from benchmarks.engine import Engine, print_failures, run_all
from benchmarks.records import Place, Record, data_label
from benchmarks.series import test_curve
from benchmarks.tables import (
    DIGITS,
    Table,
    by_variant,
    differences,
    estimate,
    label_of,
    provenance,
    values_at,
    write_tables,
)
from benchmarks.variants import online_variants, pretraining_variants
from recsim_envs.notices import show_notices

Study = Literal["pretraining", "online"]
FREE_JUDGE = Judging("tfidf")
PRETRAINING = Pretraining()
FEW_STEPS = Online(online_steps=1_280)
SHORT_TESTS = Evaluation(sessions=250, curve_points=4)


def main(
    study: tyro.conf.Positional[Study],
    simulation: Simulation,
    place: Place,
    engine: Engine,
    judging: Judging = FREE_JUDGE,
    pretraining: Pretraining = PRETRAINING,
    online: Online = FEW_STEPS,
    testing: Evaluation = SHORT_TESTS,
    seeds: int = 5,
    only: tuple[str, ...] = (),
) -> None:
    """Runs or resumes the study and reports it.

    Args:
        study: pretraining or online.
        simulation: the users.
        place: where the files are.
        engine: how the cells are computed.
        judging: the judge.
        pretraining: Algorithm 1.
        online: Algorithm 2.
        testing: sessions with users whom no agent learns from.
        seeds: number of seeds, from 0 on.
        only: ids of the variants to run, the first row always; empty runs all.
    """
    variants = online_variants() if study == "online" else pretraining_variants(simulation.env)
    unknown = set(only) - {variant.id for variant in variants}
    if unknown:
        known = ", ".join(variant.id for variant in variants)
        raise SystemExit(f"--only {' '.join(sorted(unknown))}: no such variant; there are {known}")
    if only:
        variants = [variants[0], *(v for v in variants[1:] if v.id in only)]
    settings = Settings(simulation, judging, pretraining, online, testing)
    cells = [cell_of(settings, variant, seed) for seed in range(seeds) for variant in variants]
    sweep = run_all(cells, place, engine)
    wanted = {variant.id for variant in variants}
    records = [record for record in sweep.records if record["variant"] in wanted]
    if records:
        play = "random" if testing.stochastic else "greedy"
        title = f"{simulation.env}, {data_label(records[0]['data'])}, judge {judging.label}"
        name = f"{study}_{simulation.env.split('/')[-1]}"
        table = study_table(name, f"{title}, {study}, {play} play", records)
        table.print()
        write_tables([table], place.output / "ablations", name)
        print(f"table in {place.output / 'ablations'}")
    print_failures(sweep)


def study_table(name: str, title: str, records: Sequence[Record]) -> Table:
    """Each variant's test Return along its curve, and its distance to the first one's.

    Args:
        name: of the table's files.
        title: above it.
        records: of all variants; the first variant is what the others are compared with.
    """
    variants = by_variant(records)
    first = next(iter(variants.values()))
    steps = test_curve(first, "reward").steps
    learns = first[0]["cell"]["online"] is not None
    extra = "while learning" if learns else "picked"
    rows, numbers = [], []
    for variant, mine in variants.items():
        last = estimate(list(values_at(mine, "end", "reward").values()))
        gap = estimate(differences(mine, first, "end").tolist())
        distinct = float(np.mean(list(values_at(mine, "end", "distinct").values())))
        more = float(
            np.mean([np.mean(r["episodes"]["return"]) if learns else r["picked"] for r in mine])
        )
        cells = [f"{value:.1f}" for value in test_curve(mine, "reward").mean[:-1]]
        cells.append(last.printed(1))
        cells.append("" if mine is first else gap.printed(1, sign=True))
        cells += [f"{distinct:.{DIGITS['distinct']}f}", f"{more:.{1 if learns else 2}f}"]
        rows.append((label_of(mine), *cells))
        numbers.append(
            {
                "variant": variant,
                "reward": last.mean,
                "low": last.low,
                "high": last.high,
                "difference": gap.mean,
                "difference_low": gap.low,
                "difference_high": gap.high,
                "distinct": distinct,
                extra: more,
            }
        )
    unit = "recommendations" if learns else "verdicts"
    columns = (
        "variant",
        *(f"after {step:,.0f}" for step in steps[:-1]),
        f"after {steps[-1]:,.0f} {unit}",
        "difference",
        "distinct",
        extra,
    )
    notes = ("test Return; the difference to the first row is paired by seed", *provenance(records))
    return Table(name, title, columns, tuple(rows), notes, tuple(numbers))


if __name__ == "__main__":
    show_notices()
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
