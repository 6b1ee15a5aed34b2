"""Tables, curves and claims from records whose numbers are known."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.ablations import study_table
from benchmarks.claims import claims_table, findings, quarters, taught_more, verdict_of
from benchmarks.records import made_with
from benchmarks.series import test_curve as curve_of_tests
from benchmarks.series import training_curve
from benchmarks.tables import OLD, Table, at, by_variant, estimate, results_table, write_tables
from recsim_envs.report.figures import interval
from recsim_envs.report.play import Sessions, make_users, play
from recsim_envs.report.policies import random_policy


def point(steps, reward, sessions=8):
    figures = {"reward": reward, "length": 10.0, "average_reward": reward / 10, "distinct": 1.0}
    ends = {f"{name}_interval": [value - 1, value + 1] for name, value in figures.items()}
    return {"steps": steps, "sessions": sessions, **figures, **ends}


def record(variant, seed, rewards, *, agent="DQN", returns=(), env="recsim/Industry-v0"):
    """One whose tests at e = 0, 1, 2 and the end (4,000) have these rewards."""
    online = None if agent in ("iALP", "references") else {"epoch": 1000, "online_steps": 4000}
    steps = (1024,) if online is None else (0, 1000, 2000, 4000)
    return {
        "variant": variant,
        "label": variant.upper(),
        "seed": seed,
        "cell": {
            "simulation": {"env": env, "history": "shown", "users": 16},
            "online": online,
            "testing": {"sessions": 8},
            "variant": {"agent": agent},
        },
        "data": {"name": "made here", "hash": "0123", "replica": True},
        **made_with(),
        "points": [point(*both) for both in zip(steps, rewards, strict=True)],
        "episodes": {
            "steps": [16 * n for n in range(1, len(returns) + 1)],
            "return": list(returns),
            "length": [10] * len(returns),
        },
        "picked": 0.5,
    }


def references(seed, **rewards):
    found = record("references", seed, [0.0], agent="references")
    found["references"] = {
        name.replace("_", " "): {k: v for k, v in point(0, reward).items() if k != "steps"}
        for name, reward in rewards.items()
    }
    return found


def sweep(seeds=5):
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        noise = rng.normal(0, 0.1)
        rows += [
            references(seed, popularity=30.0, best_fixed_list=56.0 + noise),
            record("dqn", seed, [1.0, 5.0, 9.0, 20.0 + noise], returns=[5.0] * 80),
            record("ialp", seed, [40.0 + noise], agent="iALP"),
            record("a-ialp_ft", seed, [40.0, 4.0 + noise, 42.0, 50.0 + noise]),
            record("a-ialp_ap", seed, [40.0, 41.0, 42.0, 52.0], returns=[40.0 + noise] * 80),
        ]
    return rows


def test_interval_over_seeds_is_students_and_covers():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.high == pytest.approx(2 + 4.3027 / np.sqrt(3), abs=1e-4)
    assert np.isnan(estimate([2.0]).low)
    rng = np.random.default_rng(0)
    drawn = [estimate(rng.normal(3, 1, size=5).tolist()) for _ in range(400)]
    assert 0.92 <= np.mean([one.low <= 3 <= one.high for one in drawn]) <= 0.98


def test_interval_over_sessions_covers_a_known_mean():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        low, high = interval(rng.normal(3, 1, size=50).tolist(), seed=trial)
        hits += low <= 3 <= high
    assert 85 <= hits <= 100
    assert interval([2.0, 2.0]) == (2.0, 2.0)


def test_r_avg_is_return_over_length():
    sessions = Sessions(np.array([1.0, 9.0]), np.array([1, 3]), np.array([1.0, 1.0]))
    assert sessions.average_reward == 2.5


def test_only_first_sessions_count():
    """All users start together, so short sessions get no second turn."""
    env = make_users("recsim/Coat-v0", 400)
    sessions = play(env, random_policy(env, 0), seed=0)
    assert len(sessions.length) == 400
    assert sessions.length.min() >= 2
    assert (sessions.reward >= sessions.length).all()
    assert (sessions.reward <= 5 * sessions.length).all()


def test_a_time_is_the_test_right_after_it():
    dqn = record("dqn", 0, [1.0, 2.0, 3.0, 4.0])
    assert [at(dqn, when)["reward"] for when in ("e=0", "e=1", "e=2", "end")] == [1, 2, 3, 4]
    dqn["points"].pop(1)
    assert at(dqn, "e=1") is None, "a later test is not the one of e = 1"
    dqn["points"][1]["sessions"] = 2
    assert at(dqn, "e=2") is None, "a curve's point is no result"
    ialp = record("ialp", 0, [7.0], agent="iALP")
    assert at(ialp, "e=0")["reward"] == at(ialp, "end")["reward"] == 7
    assert at(ialp, "e=1") is None


def test_results_stand_beside_the_papers(tmp_path):
    table = results_table("table5", "Table 5", sweep(), ["end"], notes=["why"])
    rows = {row[0]: row for row in table.rows}
    assert table.columns == ("method", "R, end", "Len, end", "R_avg, end", "paper")
    assert rows["A-IALP_AP"][1:] == (
        "52.0 [52.0, 52.0]",
        "10.0 [10.0, 10.0]",
        "5.20 [5.20, 5.20]",
        "51.8 / 11.3 / 4.58",
    )
    assert rows["popularity"][-1] == "-" and rows["IALP"][1].startswith("40.")
    assert table.notes[0] == "why" and "REPLICA" in table.notes[-1] and "5 seeds" in table.notes[1]
    write_tables([table], tmp_path, "tables")
    numbers = pd.read_csv(tmp_path / "table5.csv")
    mine = numbers[(numbers.variant == "a-ialp_ap") & (numbers.measure == "R")].iloc[0]
    assert (mine["mean"], mine.paper, mine.n) == (52.0, 51.8, 5)
    assert "### Table 5" in (tmp_path / "tables.md").read_text()


def test_one_seed_has_the_interval_of_its_sessions():
    table = results_table("t", "t", sweep(1), ["e=0"])
    row = next(row for row in table.rows if row[0] == "DQN")
    assert row[1] == "1.0 [0.0, 2.0]" and "sessions of 1 seed" in table.notes[0]


def test_the_paper_knows_one_history():
    records = sweep(2)
    for one in records:
        one["cell"]["simulation"]["history"] = "accepted"
    assert "paper" not in results_table("t", "t", records, ["end"]).columns


def test_old_records_are_seen_as_old():
    records = sweep(2)
    table = results_table("t", "t", records, ["end"])
    assert not any(OLD in text for row in table.rows for text in row)
    records[1]["code"] = "deadbeef"
    table = results_table("t", "t", records, ["end"])
    assert [row[0] for row in table.rows if OLD in row[0]] == [f"DQN {OLD}"]
    assert "deadbeef" in " ".join(table.notes) and OLD in table.notes[-1]


def test_claims_are_settled_by_intervals():
    found = findings(sweep())
    verdicts = {
        claim: verdict_of([f for f in found if f.claim == claim])
        for claim in dict.fromkeys(f.claim for f in found)
    }
    assert verdicts == {
        "C1": "holds",  # 40 of 1
        "C2": "does not hold",  # 4 of 5
        "C3": "holds",  # 52 of 20
        "C4": "not decided",  # high, but its worst users' sessions neither rise nor fall
        "C8": "does not hold",  # above popularity, below the best fixed list
    }
    fixed = next(f for f in found if "BEST FIXED" in f.what.upper())
    assert fixed.difference.mean == pytest.approx(-4, abs=0.2)
    table = claims_table("claims", "Claims", found, sweep())
    assert any("does not hold" in row for row in table.rows)


def test_a_claim_without_its_records_has_no_verdict():
    found = findings([record("dqn", 0, [1.0, 2.0, 3.0, 4.0])])
    assert found == []


def test_differences_of_judges_are_paired_by_seed():
    seeds = range(3)
    by_judge = {
        "model": [record("ialp", s, [10.0 * s + 2], agent="iALP") for s in seeds],
        "tfidf": [record("ialp", s, [10.0 * s], agent="iALP") for s in seeds],
    }
    (found,) = taught_more(by_judge, "model")
    assert (found.difference.mean, found.difference.low, found.verdict) == (2, 2, "holds")


def test_the_study_pairs_by_seed_too():
    rows = [record("first", s, [0.0, 0.0, 0.0, 10.0 * s], returns=[1.0]) for s in range(3)]
    rows += [record("other", s, [0.0, 0.0, 0.0, 10.0 * s + 2], returns=[3.0]) for s in range(3)]
    table = study_table("study", "title", rows)
    assert table.rows[1][-3:] == ("+2.0 [+2.0, +2.0]", "1.00", "3.0")
    assert table.rows[0][-3] == ""
    one = study_table("study", "title", [row for row in rows if row["seed"] == 0])
    assert one.rows[1][-3] == "+2.0" and "nan" not in str(one.rows)


def test_training_curves_are_of_the_latest_twenty_sessions():
    returns = [0.0] * 20 + [1.0] * 20
    runs = [record("dqn", s, [0.0] * 4, returns=returns) for s in range(2)]
    curve = training_curve(runs, "return")
    assert curve is not None
    assert curve.steps[0] == 20 * 16 and curve.steps[-1] == 40 * 16
    assert curve.mean[0] == 0 and curve.mean[-1] == 1
    middle = curve.mean[np.searchsorted(curve.steps, 30 * 16)]
    assert middle == pytest.approx(0.5, abs=0.06)
    assert training_curve([record("ialp", 0, [1.0], agent="iALP")], "return") is None
    tested = curve_of_tests(runs, "reward")
    assert tested.steps.tolist() == [0, 1000, 2000, 4000]


def test_quarters_are_of_the_training_in_order():
    parts = quarters(record("dqn", 0, [0.0] * 4, returns=list(range(8))))
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_markdown_keeps_its_columns():
    table = Table("t", "title", ("a", "b"), (("x|y", "1"),))
    assert "| x/y | 1 |" in table.markdown()
    assert by_variant([]) == {}
