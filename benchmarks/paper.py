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
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.cards import judge_card, users_card
from benchmarks.cells import Cell, Evaluation, Judging, Online, Pretraining, Settings, Simulation
from benchmarks.claims import claims_table, findings, taught_more
from benchmarks.engine import Engine, print_failures, run_all
from benchmarks.figures import draw
from benchmarks.grid import FIGURES, Paper, Part, parts_of
from benchmarks.html import write_report
from benchmarks.html_content import provenance
from benchmarks.records import Place, Record, read_record
from benchmarks.tables import Table, results_table, write_tables
from benchmarks.track import check_installed
from benchmarks.track import track as track_sweep
from recsim_envs.notices import show_notices

TIMES: dict[Literal[3, 4, 5], tuple[str, ...]] = {3: ("e=0",), 4: ("e=1", "e=2"), 5: ("end",)}
"""When the agents of a table were tested."""
WHY = (
    "the paper's users, reward models and reward scale are not published: ours are learned from "
    "the same kind of data, see docs/reconstruction.md, so levels differ; orders may be compared"
)
WHY_COAT = (
    "the paper's Coat baselines are EasyRL4Rec's published rows, trained for 1 to 10 million steps"
)


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
    parts = parts_of(paper, Settings(Simulation(), judging, pretraining, online, testing))
    cells = [cell for part in parts for cell in part.cells]
    cells += [cell for part in parts for others in part.of_judges.values() for cell in others]
    sweep = run_all(cells, place, engine)
    if engine.print_commands:
        return
    folder = place.output / "paper"
    tables: list[Table] = []
    for part in parts:
        records = records_of(part.cells, place)
        if records:
            tables += tables_of(part, paper, records, place)
            draw_figures(part, records, folder)
    for table in tables:
        table.print()
    report = folder / "report.html"
    command = shlex.join(["python", "-m", "benchmarks.paper", *sys.argv[1:]])
    write_tables(tables, folder, "tables", head_of(sweep.records, command))
    users = [part.settings.simulation for part in parts]
    cards = {f"Users of {each.env}": users_card(each) for each in users}
    cards["Judge"] = judge_card(sweep.records)
    write_report(report, sweep.records, tables, "The paper's benchmark", command, cards)
    if track is not None:
        track_sweep(sweep.records, tables, place, track)
    print(f"tables and figures in {folder}; report: {report}")
    print_failures(sweep)


def head_of(records: Sequence[Record], command: str) -> str:
    """What stands above the tables: how they were made, and can be made again."""
    if not records:
        return ""
    about = provenance(records, command)
    first, last = about["made"][0], about["made"][-1]
    return (
        f"# The paper's benchmark\n\n```sh\n{command}\n```\n\n"
        f"Made {first if first == last else f'{first} to {last}'} on "
        f"{', and '.join(about['machines'])}: {about['cells']} cells of one thread each, "
        f"{about['wall_time']} (h:mm:ss) in all; revision {', '.join(about['revisions'])}.\n\n"
    )


def tables_of(part: Part, paper: Paper, records: list[Record], place: Place) -> list[Table]:
    """The paper's tables of one environment, and its claims."""
    settings = part.settings
    play = "at random" if settings.testing.stochastic else "greedily"
    notes = [
        WHY,
        *([WHY_COAT] if part.env == "Coat" else []),
        f"judge {settings.judging.label}, {settings.pretraining.verdicts:,} verdicts; the end is "
        f"after {settings.online.online_steps:,} recommendations (the paper: 50,000), an epoch is "
        f"{settings.online.epoch:,}; tested {play}, on users of the test split",
    ]
    tables = [
        results_table(
            f"table{number}_{part.name}",
            f"Table {number}, {part.title}",
            records,
            TIMES[number],
            notes=notes,
        )
        for number in (paper.tables or TIMES)
    ]
    by_judge = {settings.judging.judge: records}
    by_judge |= {judge: records_of(cells, place) for judge, cells in part.of_judges.items()}
    found = findings(records) + taught_more(by_judge, settings.judging.judge)
    name, title = f"claims_{part.name}", f"Claims, {part.title}"
    return [*tables, claims_table(name, title, found, records)]


def draw_figures(part: Part, records: list[Record], folder: Path) -> None:
    """The paper's figures of one environment, under the history that the paper knows."""
    for number, (kind, env) in FIGURES.items():
        if env == part.env and kind in part.kinds and part.settings.simulation.history == "shown":
            shown = [record for record in records if record["variant"] in part.kinds[kind]]
            if shown:
                draw(shown, f"Figure {number}, {part.title}", folder, f"figure{number}")


def records_of(cells: Sequence[Cell], place: Place) -> list[Record]:
    """The records of the cells that are done."""
    found = (read_record(place.file(cell)) for cell in cells)
    return [record for record in found if record is not None]


if __name__ == "__main__":
    show_notices()
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
