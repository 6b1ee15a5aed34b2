"""`recsim play`: what is suggested, found and paid, from input lines in place of a person."""

import io
import re
import sys

import numpy as np
import pytest
from rich.console import Console

from llm_oracle.cli import main
from recsim_envs import play
from recsim_envs.envs import RecommenderEnv
from recsim_envs.play import Rules, search, suggestions
from recsim_envs.report.play import make_users
from recsim_envs.rewards.ready import LIKED


@pytest.fixture
def said(monkeypatch, capsys):
    """What `recsim play` prints when it is given these lines."""

    def run(lines, *arguments):
        monkeypatch.setattr(sys, "argv", ["recsim", "play", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        main()
        return capsys.readouterr().out

    return run


def results(text):
    found = re.findall(r"^  ([a-z -]+?) +Return +([-\d.]+), Length (\d+)$", text, re.MULTILINE)
    return {name: (float(earned), int(length)) for name, earned, length in found}


def test_who_takes_the_first_suggestion_earns_what_popularity_does(said):
    text = said(["1"] * 12, "recsim/Industry-v0", "--seed", "3")
    found = results(text)
    assert list(found) == ["you", "random", "popularity", "nearest text", "myopic oracle"]
    assert found["you"] == found["popularity"]
    assert found["random"][0] < found["you"][0] < found["myopic oracle"][0]
    assert "REPLICA" in text and "popular" in text and "nearest text" in text


def test_a_session_of_wrong_lines_and_a_search_ends_with_the_input(said):
    lines = ["0", "99", "foo [b]", "/xyzzy", "/", "/WOMEN raincoat", "", "2"]
    text = said(lines, "recsim/Coat-v0", "--split", "train")
    for wrong in ("'0'", "'99'", "'foo [b]'"):
        assert f"{wrong} is none of the choices: give 1 to 6." in text
    assert "No item's text has all of ['xyzzy']." in text
    assert "Length 1 of 30" in text and text.endswith("Stopped before the end.\n")
    assert results(text) == {}


def test_q_and_ctrl_c_end_it_cleanly(said, monkeypatch):
    assert said(["q", "1"], "recsim/Coat-v0").endswith("Stopped before the end.\n")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert said([], "recsim/Coat-v0").endswith("Stopped before the end.\n")


def test_missing_data_is_one_line(said):
    with pytest.raises(SystemExit, match=r"^recsim: .*nowhere"):
        said([], "recsim/LFM-v0", "--data", "nowhere")


def test_suggestions_follow_their_rules():
    users = make_users("recsim/Coat-v0", 1)
    dataset, rules = users.dataset, Rules.of(users.dataset)
    env = RecommenderEnv(users.simulator)
    env.reset(seed=0)
    rated = dataset.interactions[dataset.interactions["split"] == "train"]
    liked = rated[rated["rating"] >= LIKED]["item"].value_counts()
    # Nothing was shown: no text can be near.
    offers = suggestions(env, rules, np.random.default_rng(0))
    assert [rule for rule, _ in offers] == ["popular"] * 3 + ["random"] * 3
    assert [liked[item] for _, item in offers[:3]] == sorted(liked)[:-4:-1]
    shown = offers[0][1]
    env.step(shown)
    offers = suggestions(env, rules, np.random.default_rng(0))
    assert [rule for rule, _ in offers] == [
        rule for rule in ("popular", "nearest text", "random") for _ in range(3)
    ]
    items = [item for _, item in offers]
    assert len({shown, *items}) == 10
    likeness = (rules.tfidf @ rules.tfidf[[shown]].T).toarray()[:, 0]
    likeness[[shown, *items[:3]]] = -1
    assert sorted(likeness[items[3:6]]) == pytest.approx(sorted(likeness)[-3:])


def test_a_search_finds_all_words_the_most_popular_first():
    rules = Rules(np.array([1, 5, 3, 9]), None, ["red bolt", "bolt, red", "redbolts", "a nut"])
    assert search(rules, "RED bolt") == [("search", 1), ("search", 2), ("search", 0)]
    assert search(rules, "red nut") == [] == search(rules, " ")


def test_a_hostile_title_is_only_text():
    users = make_users("recsim/Coat-v0", 1)
    users.dataset.items.loc[0, "text"] = "[red]\x1b[2J"
    table = play.offers_table(RecommenderEnv(users.simulator), [("search", 0)])
    page = io.StringIO()
    Console(file=page, width=80).print(table)
    assert "[red] [2J" in page.getvalue() and "\x1b[2J" not in page.getvalue()
