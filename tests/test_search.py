"""The search for the online agents' settings, end to end on a small budget."""

import json
from dataclasses import replace

import pytest

from benchmarks import search
from benchmarks.agents import FROM_A_POLICY, FROM_SCRATCH, SEARCHED

SMALL = search.Settings(env="recsim/Coat-v0", online_steps=64, users=4, sessions=8, workers=1)


def test_what_was_found_is_of_the_grid() -> None:
    starts = [(name, start) for name in FROM_SCRATCH for start in ("random", "text")]
    assert set(SEARCHED) == {*starts, *((name, "text") for name in FROM_A_POLICY)}
    for (name, _), found in SEARCHED.items():
        assert found in list(search.settings_of(name))


def test_every_agent_is_searched_on_training_users_and_found_again(
    tmp_path, capsys, monkeypatch
) -> None:
    # One value each, but two learning rates: the table has something to put in order.
    grid = {
        name: {key: values[: 1 + (key == "learning_rate")] for key, values in of.items()}
        for name, of in search.GRID.items()
    }
    monkeypatch.setattr(search, "GRID", grid)
    splits = []
    make_users = search.make_users

    def watched(*args, **kwargs):
        splits.append(kwargs.get("split"))
        return make_users(*args, **kwargs)

    monkeypatch.setattr(search, "make_users", watched)
    settings = replace(SMALL, output=tmp_path)
    search.main(settings)
    assert "test" not in splits
    table = capsys.readouterr().out
    assert "REPLICA" in table and table.count("start random") == len(FROM_SCRATCH)
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 2 * (2 * len(FROM_SCRATCH) + len(FROM_A_POLICY))
    row = json.loads(files[0].read_text())["rows"][0]
    assert row["reward"] > 0
    monkeypatch.setattr(search, "evaluate", lambda *a, **k: pytest.fail("computed twice"))
    search.main(settings)
    assert capsys.readouterr().out == table
