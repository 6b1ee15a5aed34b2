"""The comparison, end to end on a small budget, and its arithmetic."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import compare
from recsim_envs.report.figures import interval
from recsim_envs.report.play import Sessions, make_users, play
from recsim_envs.report.policies import random_policy

SMALL = compare.Settings(
    env="recsim/Coat-v0",
    judge="tfidf",
    verdicts=32,
    updates_per_verdict=0.1,
    online_steps=64,
    users=8,
    sessions=20,
)


@pytest.mark.parametrize(
    ("env", "start", "workers"),
    [("recsim/Coat-v0", "random", 2), ("recsim/Industry-v0", "text", 1)],
)
def test_comparison_reports_every_agent_and_resumes(
    tmp_path, capsys, monkeypatch, env, start, workers
):
    settings = replace(SMALL, env=env, workers=workers, output=tmp_path)
    compare.main(settings)
    table = capsys.readouterr().out
    agents = [agent.label for agent in compare.agents_of(start)]
    assert len(agents) == {"random": 7, "text": 10}[start]
    for word in (*agents, "iALP", "random", "popularity", "best fixed"):
        assert word in table
    assert "REPLICA" in table
    assert (settings.folder / "curves.png").stat().st_size > 10_000
    records = {file.name: json.loads(file.read_text()) for file in settings.folder.glob("*.json")}
    assert len(records) == len(agents) + 2
    for record in records.values():
        assert record["data_hash"] and all(record["reward_hashes"])
        assert record["versions"]["torch"] and record["revision"]
    trained, untaught, ialp = (
        records[f"{name}_seed0.json"]["rows"][0]["results"]["e = 0"]
        for name in ("A-iALP_ap", "A-iALP_ap_no-verdicts", "iALP")
    )
    assert trained == ialp
    assert untaught != ialp
    trained = records["A-iALP_ap_seed0.json"]["rows"][0]
    assert [point["steps"] for point in trained["curve"]][-1] >= 64

    # What is recorded is not computed again; another budget is.
    monkeypatch.setattr(compare, "pretrain", lambda *a: pytest.fail("computed twice"))
    compare.main(settings)
    again = capsys.readouterr().out
    assert again[again.index("recsim/") :] == table[table.index("recsim/") :]
    with pytest.raises(pytest.fail.Exception, match="computed twice"):
        compare.main(replace(settings, verdicts=40))


def test_a_second_pretraining_asks_the_language_model_nothing(tmp_path, tiny_llama, asked):
    cache = tmp_path / "verdicts.sqlite"
    first = replace(SMALL, judge=str(tiny_llama), output=tmp_path / "a", cache=cache)
    second = replace(first, output=tmp_path / "b")
    results = []
    for settings in (first, second):
        settings.folder.mkdir(parents=True)
        asked.clear()
        results.append((compare.pretrain(settings, 0)["results"], sum(asked)))
    (result, asked_first), (again, asked_again) = results
    assert 0 < asked_first <= SMALL.verdicts
    assert asked_again == 0
    assert again == result


def test_r_avg_is_return_over_length():
    sessions = Sessions(np.array([1.0, 9.0]), np.array([1, 3]), np.array([1.0, 1.0]))
    assert sessions.average_reward == 2.5


def test_interval_covers_a_known_mean():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        low, high = interval(rng.normal(3, 1, size=50).tolist(), seed=trial)
        hits += low <= 3 <= high
    assert 85 <= hits <= 100
    assert interval([2.0, 2.0]) == (2.0, 2.0)


def test_only_first_sessions_count():
    """All users start together, so short sessions get no second turn."""
    env = make_users("recsim/Coat-v0", 400)
    act = random_policy(env, 0)
    sessions = play(env, act, seed=0)
    assert len(sessions.length) == 400
    assert sessions.length.min() >= 2
    assert (sessions.reward >= sessions.length).all()
    assert (sessions.reward <= 5 * sessions.length).all()
