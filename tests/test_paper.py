"""The paper's benchmark: what it runs, and one small sweep from command to report."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sweeps import SMALL

from benchmarks import paper as benchmark
from benchmarks.engine import Engine
from benchmarks.grid import Paper, parts_of
from benchmarks.records import Place


def kinds(paper: Paper) -> dict[str, set[str]]:
    return {part.name: set(part.kinds) for part in parts_of(paper, SMALL)}


def test_everything_is_the_papers_grid_under_both_histories() -> None:
    assert kinds(Paper()) == {
        "Industry": {"main", "llm-online", "explorations"},
        "Industry_accepted": {"main"},
        "Coat": {"main"},
        "LFM": {"main", "llm-online", "explorations"},
        "LFM_accepted": {"main"},
    }


def test_a_table_or_figure_runs_what_it_needs() -> None:
    assert kinds(Paper(tables=(5,), envs=("Coat",))) == {"Coat": {"main"}}
    assert kinds(Paper(figures=(8,), histories=("shown",))) == {"LFM": {"llm-online"}}
    assert kinds(Paper(figures=(6,), histories=("shown",))) == {"LFM": {"main"}}
    assert kinds(Paper(figures=(10, 11), histories=("shown",))) == {
        "Industry": {"explorations"},
        "LFM": {"explorations"},
    }


def test_cells_come_seed_by_seed_and_once() -> None:
    paper = Paper(envs=("Industry",), histories=("shown",), judges=("tfidf", "popularity"), seeds=2)
    part = parts_of(paper, SMALL)[0]
    cells = part.cells
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    names = [(cell.variant.id, cell.seed) for cell in cells]
    assert len(set(names)) == len(names)
    ids = {name for name, _ in names}
    assert {"references", "ialp", "a2c.text", "llm-online", "a-ialp_ap.greedy"} <= ids
    assert {judge: len(others) for judge, others in part.of_judges.items()} == {"popularity": 4}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of Coat's replica, and what it was asked."""
    place = Place(tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("cache") / "v.sqlite")
    paper = Paper(tables=(3, 5), envs=("Coat",), seeds=1, users=4)

    def run(engine: Engine = Engine(), **changes) -> None:  # noqa: B008
        s = SMALL
        asked = replace(paper, **changes)
        benchmark.main(asked, s.judging, s.pretraining, s.online, s.testing, place, engine)

    run()
    return place, run


def test_a_sweep_ends_in_tables_claims_and_a_report(swept) -> None:
    place, _ = swept
    folder = place.output / "paper"
    text = (folder / "tables.md").read_text()
    assert text.startswith("# The paper's benchmark") and " CPUs: " in text
    for word in ("REPLICA", "A-iALP_ap", "DQN", "random", "best fixed list", "myopic oracle"):
        assert word in text
    for word in ("C1", "C3", "C4", "C8", "EasyRL4Rec", "54.3 / 22.1 / 2.47", "not published"):
        assert word in text
    numbers = pd.read_csv(folder / "table5_Coat.csv")
    assert {"a-ialp_ft", "a-ialp_ap", "ialp", "dqn", "popularity"} <= set(numbers.variant)
    assert set(pd.read_csv(folder / "claims_Coat.csv").claim) == {"C1", "C2", "C3", "C4", "C8"}
    assert "REPLICA" in (folder / "report.html").read_text()
    assert not (folder / "table4_Coat.csv").exists()


def test_the_same_command_computes_nothing_again(swept, capsys, monkeypatch) -> None:
    place, run = swept
    files = sorted((place.output / "Coat-v0_replica").glob("*.json"))
    assert len(files) == 9
    before = [file.stat().st_mtime_ns for file in files]
    run()
    assert [file.stat().st_mtime_ns for file in files] == before
    assert capsys.readouterr().out.splitlines()[-1].endswith("report.html")


def test_commands_are_printed_for_what_is_missing(swept, capsys) -> None:
    place, run = swept
    run(Engine(print_commands=True))
    assert capsys.readouterr().out == ""
    run(Engine(print_commands=True), seeds=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and all("benchmarks.cell" in line for line in lines)
    orders = [json.loads(Path(line.split()[-1]).read_text()) for line in lines]
    assert {order["cell"]["seed"] for order in orders} == {1}
