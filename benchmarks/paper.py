"""The paper's tables and figures, and a verdict on each of its claims.

    python -m benchmarks.paper --industry my-industry --lfm my-lfm --coat my-coat

runs the grid (environments x methods x seeds), or what of it is missing, and writes Tables 3 to 5,
Figures 6 to 11, the claims and ``report.html``. ``--tables 3 4`` and ``--figures 8`` do less. The
defaults are the paper's where it gives them: 50,000 steps, 10 candidates; not given are the seeds
and the number of verdicts. Where no data set is named, a replica stands in, and is called one.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import tyro

from benchmarks.cards import judge_card, users_card
from benchmarks.cells import (
    REFERENCES,
    Cell,
    Evaluation,
    Judging,
    Online,
    Pretraining,
    Settings,
    Simulation,
    Variant,
    cell_of,
    ialp_of,
)
from benchmarks.claims import claims_table, findings, taught_more
from benchmarks.engine import Engine, print_failures, run_all
from benchmarks.figures import draw
from benchmarks.html import write_report
from benchmarks.records import Place, Record, read_record
from benchmarks.tables import Table, results_table, write_tables
from benchmarks.track import check_installed
from benchmarks.track import track as track_sweep
from benchmarks.variants import explorations, llm_online, main_variants

Env = Literal["LFM", "Industry", "Coat"]
TIMES: dict[Literal[3, 4, 5], tuple[str, ...]] = {3: ("e=0",), 4: ("e=1", "e=2"), 5: ("end",)}
"""When the agents of a table were tested."""
FIGURES: dict[int, tuple[str, Env]] = {
    6: ("main", "LFM"),
    7: ("main", "Industry"),
    8: ("llm-online", "LFM"),
    9: ("llm-online", "Industry"),
    10: ("explorations", "Industry"),
    11: ("explorations", "LFM"),
}
"""What a figure compares, and where."""
A2C = Variant("a2c", "A2C", "A2C")
AP_ROW = Variant("a-ialp_ap", "A-iALP_ap", "A-iALP_ap", "judge")
A_IALP = (Variant("a-ialp_ft", "A-iALP_ft", "A-iALP_ft", "judge"), AP_ROW)
WHY = (
    "the paper's users, reward models and reward scale are not published: ours are learned from "
    "the same kind of data, see docs/reconstruction.md, so levels differ; orders may be compared"
)
WHY_COAT = (
    "the paper's Coat baselines are EasyRL4Rec's published rows, trained for 1 to 10 million steps"
)


@dataclass(frozen=True)
class Paper:
    """What to run.

    Attributes:
        tables: numbers of tables; with no table and no figure named, all of both.
        figures: numbers of figures.
        envs: environments.
        lfm: data of recsim/LFM-v0: "replica" or a name given to `recsim prepare`.
        industry: of recsim/Industry-v0.
        coat: of recsim/Coat-v0.
        histories: what enters a user's history, see ``recsim_envs``; Coat knows "shown" alone.
        judges: judges that the pre-training is compared with (C7), at equal verdicts.
        seeds: number of seeds, from 0 on.
        users: users that an agent serves at once.
    """

    tables: tuple[Literal[3, 4, 5], ...] = ()
    figures: tuple[Literal[6, 7, 8, 9, 10, 11], ...] = ()
    envs: tuple[Env, ...] = ("Industry", "Coat", "LFM")
    lfm: str = "replica"
    industry: str = "replica"
    coat: str = "replica"
    histories: tuple[Literal["shown", "accepted"], ...] = ("shown", "accepted")
    judges: tuple[str, ...] = ("tfidf", "popularity")
    seeds: int = 5
    users: int = 16

    def data_of(self, env: Env) -> str:
        """Name of an environment's data."""
        return {"LFM": self.lfm, "Industry": self.industry, "Coat": self.coat}[env]

    def runs(self, kind: str, env: Env) -> bool:
        """Whether "main", "llm-online" or "explorations" is wanted of an environment."""
        if not self.tables and not self.figures:
            return kind == "main" or (kind, env) in FIGURES.values()
        if kind == "main" and self.tables:
            return True
        return any(FIGURES[number] == (kind, env) for number in self.figures)


@dataclass(frozen=True)
class Part:
    """One environment and history: the cells that its tables are made of.

    Attributes:
        env: the environment.
        history: what enters a user's history.
        kinds: variants by what they are for.
        settings: the sweep's, for these users.
    """

    env: Env
    history: str
    kinds: dict[str, list[Variant]]
    settings: Settings

    @property
    def name(self) -> str:
        """In file names."""
        return self.env if self.history == "shown" else f"{self.env}_{self.history}"


def parts_of(paper: Paper, settings: Settings) -> list[Part]:
    """What a sweep consists of.

    With ``history="accepted"``, which the paper does not have, only its main table is run.
    """
    parts = []
    for env in paper.envs:
        for history in paper.histories:
            if history == "accepted" and env == "Coat":
                continue
            users = Simulation(f"recsim/{env}-v0", paper.data_of(env), history, paper.users)
            main = main_variants(users.env)
            references = [variant for variant in main if variant.agent == REFERENCES]
            ialp = ialp_of(users.env)
            of_kind = {
                "main": main,
                "llm-online": [*references, ialp, *llm_online(users.env), *A_IALP],
                "explorations": [*references, A2C, ialp, AP_ROW, *explorations()],
            }
            kinds = {
                kind: variants
                for kind, variants in of_kind.items()
                if paper.runs(kind, env) and (kind == "main" or history == "shown")
            }
            if kinds:
                parts.append(Part(env, history, kinds, replace(settings, simulation=users)))
    return parts


def cells_of(part: Part, seeds: int) -> list[Cell]:
    """All cells of a part, seed by seed: an interrupted sweep has whole seeds."""
    variants = {v.id: v for variants in part.kinds.values() for v in variants}
    return [cell_of(part.settings, v, seed) for seed in range(seeds) for v in variants.values()]


def cells_of_judge(part: Part, seeds: int, judge: str) -> list[Cell]:
    """C7: iALP and A-iALP_ap, taught by another judge with as many verdicts."""
    judging = Judging(judge, k=part.settings.judging.k)
    settings = replace(part.settings, judging=judging)
    taught = [ialp_of(settings.simulation.env), AP_ROW]
    return [cell_of(settings, v, seed) for seed in range(seeds) for v in taught]


def main(
    paper: Paper,
    judging: Judging,
    pretraining: Pretraining,
    online: Online,
    testing: Evaluation,
    place: Place,
    engine: Engine,
    track: str | None = None,
) -> None:
    """Runs or resumes the sweep, and reports it.

    Args:
        paper: what to run.
        judging: the judge.
        pretraining: Algorithm 1.
        online: Algorithm 2, and the agents without a judge.
        testing: sessions with users whom no agent learns from.
        place: where the files are.
        engine: how the cells are computed.
        track: W&B project that records and tables are logged to.
    """
    if track is not None:
        check_installed()
    settings = Settings(Simulation(), judging, pretraining, online, testing)
    parts = parts_of(paper, settings)
    judges = [judging.judge, *(j for j in paper.judges if j != judging.judge)]
    compared = judges if not paper.tables and not paper.figures else judges[:1]
    cells = {part.name: cells_of(part, paper.seeds) for part in parts}
    by_judge = {
        part.name: {judge: cells_of_judge(part, paper.seeds, judge) for judge in compared[1:]}
        for part in parts
        if part.history == "shown"
    }
    wanted = [cell for some in cells.values() for cell in some]
    wanted += [cell for some in by_judge.values() for more in some.values() for cell in more]
    sweep = run_all(wanted, place, engine)
    if engine.print_commands:
        return
    folder = place.output / "paper"
    tables: list[Table] = []
    for part in parts:
        records = records_of(cells[part.name], place)
        if not records:
            continue
        tables += tables_of(paper, part, records)
        others = {j: records_of(some, place) for j, some in by_judge.get(part.name, {}).items()}
        found = findings(records) + taught_more({judging.judge: records, **others}, judging.judge)
        title = f"Claims, {title_of(part)}"
        tables.append(claims_table(f"claims_{part.name}", title, found, records))
        for number, (kind, env) in FIGURES.items():
            if env == part.env and kind in part.kinds and part.history == "shown":
                mine = {variant.id for variant in part.kinds[kind]}
                shown = [record for record in records if record["variant"] in mine]
                draw(shown, f"Figure {number}, {title_of(part)}", folder, f"figure{number}")
    for table in tables:
        table.print()
    write_tables(tables, folder, "tables")
    command = shlex.join(["python", "-m", "benchmarks.paper", *sys.argv[1:]])
    report = folder / "report.html"
    users = [part.settings.simulation for part in parts]
    cards = {f"Users of {each.env}": users_card(each) for each in users}
    cards["Judge"] = judge_card(sweep.records)
    write_report(report, sweep.records, tables, "The paper's benchmark", command, cards)
    if track is not None:
        track_sweep(sweep.records, tables, place, track)
    print_failures(sweep)
    print(f"tables and figures in {folder}; report: {report}")


def records_of(cells: Sequence[Cell], place: Place) -> list[Record]:
    """The records of the cells that are done."""
    found = (read_record(place.file(cell)) for cell in cells)
    return [record for record in found if record is not None]


def tables_of(paper: Paper, part: Part, records: Sequence[Record]) -> list[Table]:
    """The paper's tables of one environment."""
    notes = [WHY, WHY_COAT] if part.env == "Coat" else [WHY]
    online = part.settings.online
    notes.append(
        f"judge {part.settings.judging.judge}, {part.settings.pretraining.verdicts} verdicts; "
        f"the end is after {online.online_steps:,} recommendations (the paper: 50,000), an epoch "
        f"is {online.epoch:,}; tested greedily on users of the test split"
    )
    return [
        results_table(
            f"table{number}_{part.name}",
            f"Table {number}, {title_of(part)}",
            records,
            TIMES[number],
            notes=notes,
        )
        for number in (paper.tables or TIMES)
    ]


def title_of(part: Part) -> str:
    """Names a part in titles."""
    users = part.settings.simulation
    return f"{users.env}, history {users.history!r}"


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
