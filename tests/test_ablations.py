"""The ablation study, end to end on a small budget."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ablations
from benchmarks.report import print_variants

SMALL = ablations.Settings(
    "pretraining",
    env="recsim/Coat-v0",
    verdicts=(8, 16),
    online_steps=128,
    users=4,
    sessions=8,
    seeds=2,
)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """A folder with the default's pre-trained policies."""
    folder = tmp_path_factory.mktemp("ablations")
    for seed in range(SMALL.seeds):
        ablations.pretraining_cell(replace(SMALL, output=folder), ablations.DEFAULT, seed)
    return folder


@pytest.mark.parametrize(
    ("study", "name"),
    [
        *(("pretraining", name) for name in ablations.PRETRAINING),
        *(("online", name) for name in ablations.ONLINE),
    ],
)
def test_every_variant_runs_and_is_what_it_says(output, monkeypatch, study, name):
    agents = []
    cell = getattr(ablations, f"{study}_cell")
    for make in ("make_ialp", "make_from_scratch", "make_from_policy"):
        original = getattr(ablations, make)

        def keep(*args, original=original, **kwargs):
            agents.append(original(*args, **kwargs))
            return agents[-1]

        monkeypatch.setattr(ablations, make, keep)
    record = cell(replace(SMALL, output=output, sessions=7), name, 0)
    row = record["rows"][0]
    assert [point["steps"] for point in row["curve"]][-1] >= 16
    changes = ablations.PRETRAINING[name].ialp if study == "pretraining" else {}
    if study == "online" and name.startswith(("ap", "ft")):
        changes = {k: v for k, v in ablations.ONLINE[name][1].items() if k != "beta_init"}
    for argument, value in changes.items():
        assert getattr(agents[-1], argument) == value
    if study == "pretraining":
        variant = ablations.PRETRAINING[name]
        policy, encoder = agents[-1].policy, agents[-1].policy.features_extractor
        for argument, value in variant.policy.items():
            assert getattr(policy, argument) == value
        # Coat's own start is the random one.
        assert encoder.starts_from_features == (variant.start == "text")


def test_study_reports_paired_differences_and_resumes(tmp_path, capsys, monkeypatch):
    settings = replace(SMALL, output=tmp_path, only=("Eq. 9",), workers=1)
    ablations.main(settings)
    table = capsys.readouterr().out
    assert "REPLICA" in table and "Eq. 9 as printed" in table and "topk" not in table
    assert json.loads(next(settings.folder.rglob("*.json")).read_text())["revision"] in table
    files = sorted((settings.folder / "pretraining").glob("*.json"))
    assert len(files) == 4
    before = [file.stat().st_mtime_ns for file in files]
    ablations.main(settings)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert capsys.readouterr().out == table
    ablations.main(replace(settings, study="online", only=("RQ3",)))
    assert "LLMOnline" in capsys.readouterr().out
    record = json.loads((settings.folder / "online" / "LLMOnline--RQ3-_seed0.json").read_text())
    assert record["rows"][0]["learning_s"] > 0
    assert np.isfinite(record["rows"][0]["while_learning"])


def test_differences_are_paired_by_seed(capsys):
    def row(variant, seed, reward):
        point = {"steps": 0, "reward": 0.0, "length": 1.0, "distinct": 1.0}
        return {
            "variant": variant,
            "seed": seed,
            "curve": [point, {**point, "steps": 9, "reward": reward}],
        }

    rows = [row("default", seed, 10.0 * seed) for seed in range(3)]
    rows += [row("other", seed, 10.0 * seed + 2) for seed in range(3)]
    print_variants(rows, "title", "revision x")
    assert "+2.0 [+2.0, +2.0]" in capsys.readouterr().out
    print_variants([row for row in rows if row["seed"] == 0], "title", "revision x")
    table = capsys.readouterr().out
    assert "+2.0" in table and "nan" not in table
