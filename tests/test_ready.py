"""What `recsim prepare` calls success can be played and judged; ratings become likes."""

import json
import sys

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

import recsim_envs  # noqa: F401  (registers the ids)
from llm_oracle import cli
from llm_oracle.judge import NONE
from llm_oracle.judges.simple import PopularityJudge, TfidfJudge
from llm_oracle.oracle_env import LLMOracleEnv
from llm_oracle.study.evaluate import next_item_accuracy
from recsim_envs.data.reading import Reading
from recsim_envs.data.store import data_home
from recsim_envs.data.tables import from_frame
from recsim_envs.data.text import text_features, word_options
from recsim_envs.errors import DataError
from recsim_envs.report.subject import ShopperSubject, environment_of, load_subject
from recsim_envs.rewards.prepare import prepare

WORDS = "red blue green steel bolt nut tea jazz rock song wood".split()
CHINESE = [
    a + b + c for a in ("红色", "蓝色") for b in ("钢制", "木制") for c in ("螺栓", "茶杯", "歌曲")
]
SMALL = {"embedding_dim": 8, "max_epochs": 1}


def sessions(sequences, n_items=12, texts=None, **arguments):
    rows = [(s, item, i) for s, items in enumerate(sequences) for i, item in enumerate(items)]
    sequence, item, position = zip(*rows, strict=True)
    texts = texts or [f"{WORDS[i % 11]} {WORDS[i % 5]}" for i in range(n_items)]
    return from_frame(
        "mine",
        {"user_id": sequence, "item_id": item, "position": position},
        {"item_id": range(n_items), "title": texts},
        text="title",
        **arguments,
    )


def walks(n=12, length=4, n_items=12):
    rng = np.random.default_rng(0)
    return [rng.permutation(n_items)[:length].tolist() for _ in range(n)]


def use(monkeypatch, tmp_path, dataset):
    """Prepares, plays each split and asks each judge."""
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path))
    card = prepare(dataset, tmp_path / "mine", **SMALL)
    assert "NaN" not in (tmp_path / "mine" / "card.json").read_text()
    judges = [PopularityJudge(dataset), TfidfJudge(dataset)]
    for kind in (
        {"split": "train"},
        {"split": "test"},
        {"split": "test", "test_model": "disjoint"},
    ):
        env = gym.make("recsim/Industry-v0", data="mine", **kind)
        for judge in judges:
            asked = LLMOracleEnv(env, judge)
            asked.action_space.seed(0)
            asked.reset(seed=0)
            ended = False
            while not ended:
                _, reward, terminated, truncated, info = asked.step(asked.action_space.sample())
                assert np.isfinite([reward, info["probability"], info["patience"]]).all()
                ended = terminated or truncated
    for judge in judges:
        next_item_accuracy(judge, dataset, n=20, k=5)
    return card


@pytest.mark.parametrize(
    "texts",
    [[""] * 12, ["same"] * 12, ["\U0001f600", "\U0001f3b8"] * 6, list("abcdefghijkl"), CHINESE],
    ids=["empty", "identical", "emoji", "letters", "Chinese"],
)
def test_any_texts_can_be_played_and_judged(monkeypatch, tmp_path, texts):
    card = use(monkeypatch, tmp_path, sessions(walks(), texts=texts))
    about = " ".join(card["account"]["judges"])
    assert ("no two items share a word" in about) == (texts not in (CHINESE, ["same"] * 12))
    assert ("12 of 12 items have none" in about) == (texts[0] == "")
    assert ("all are the same" in about) == (len(set(texts)) == 1)
    assert ("script without spaces" in about) == (texts is CHINESE)


@pytest.mark.parametrize(
    "sequences",
    [
        [[i % 12, i % 12, (i + 1) % 12, i % 12] for i in range(40)],
        [[0, 0, 0]] * 20 + [[1, 2, 3]] * 20,
        [[0, 1]] * 30 + [[0, 1, 2]] * 30,
        [[0, 1, 2], [3, 4, 5]],
    ],
    ids=["one again and again", "half of one item", "short", "two users"],
)
def test_few_and_monotonous_sequences_can_be_played(monkeypatch, tmp_path, sequences):
    use(monkeypatch, tmp_path, sessions(sequences))


def test_the_card_says_where_judges_cannot_be_compared(tmp_path):
    asked = {}
    for n_items in (12, 14):
        card = prepare(sessions(walks(n_items=n_items), n_items), tmp_path / "mine", **SMALL)
        asked[n_items] = not any("nothing to ask" in note for note in card["account"]["judges"])
    assert asked == {12: False, 14: True}, "four items a sequence and ten others"


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (lambda: sessions([[0, 1, 2, 3]]), ["held-out sequences of 'mine'", "give more"]),
        (lambda: sessions([[0, 1]] * 9), ["last item left out", "longer ones"]),
        (lambda: sessions([[3, 3, 3]] * 9), ["two different items"]),
        (lambda: sessions(walks(n_items=9), n_items=9), ["9 items", "10 candidates"]),
        (lambda: sessions(walks(), scenario="clothes"), ["--scenario products", "ratings"]),
    ],
)
def test_what_could_not_be_played_is_refused_before_anything_is_fitted(tmp_path, dataset, words):
    with pytest.raises(DataError) as error:
        prepare(dataset(), tmp_path / "mine")
    assert all(word in str(error.value) for word in words), error.value
    assert not list(tmp_path.iterdir())


def test_tfidf_reads_chinese_by_characters_and_warns_where_it_can_read_nothing(caplog):
    dataset = sessions(walks(), texts=CHINESE)
    judge = TfidfJudge(dataset)
    red_steel_bolt, red_steel_cup, blue_wooden_song = 0, 1, 11
    slates = np.array([[blue_wooden_song, red_steel_cup]])
    assert judge.choose(np.array([[red_steel_bolt]]), slates).tolist() == [1]
    features = text_features(dataset, 6)
    assert features[0] @ features[1] > features[0] @ features[11]
    # Catalogues of other scripts are read by words, a Chinese title among them or not.
    assert "token_pattern" in word_options(["a long title in English"] * 50 + [CHINESE[0]])
    mixed = word_options(["Nike 红色", "Adidas 蓝色"])["analyzer"]
    assert sorted(mixed("Nike 红色")) == ["nike", "红", "红色", "色"]
    for texts in ([""] * 12, ["same"] * 12, [f"x{i}" for i in range(12)]):
        caplog.clear()
        judge = TfidfJudge(sessions(walks(), texts=texts))
        assert "will answer None to every slate" in caplog.text
        assert judge.choose(np.array([[0]]), np.array([[1, 2]])).tolist() == [NONE]


# Ratings


def films(**columns):
    """MovieLens' shape: users, ratings and times, and no split."""
    rng = np.random.default_rng(0)
    user, item = np.arange(12).repeat(8), np.concatenate(walks(12, 8))
    events = {
        "user_id": user,
        "item_id": item,
        "rating": rng.integers(1, 6, 96),
        "timestamp": 881250949 + rng.permutation(96),
    }
    return pd.DataFrame(events | columns)


FILMS = {"item_id": range(12), "title": [f"{w} ({1984 + i})" for i, w in enumerate(WORDS + ["x"])]}
USERS = {"user_id": range(12), "occupation": ["writer", "student"] * 6}


def rated(events, users=USERS, **reading):
    return from_frame(
        "mine",
        events,
        FILMS,
        users,
        text="title",
        user_text="occupation" if users else (),
        reading=Reading(**reading),
    )


@pytest.mark.parametrize("users", [USERS, None])
def test_liked_items_in_the_order_of_time_are_the_sequences(monkeypatch, tmp_path, users):
    events = films()
    found = rated(events, users)
    liked = events[events["rating"] >= 4].sort_values("timestamp")
    wanted = [list(rows["item_id"]) for _, rows in liked.groupby("user_id") if len(rows) > 1]
    assert sorted(s.tolist() for s in found.sequences) == sorted(wanted)
    assert "rating" not in found.interactions
    dropped = found.account["rows"]["interactions"]["dropped"]
    assert dropped["rated below 4"] == (events["rating"] < 4).sum()
    assert any("items rated 4 or more" in note for note in found.account["notes"])
    use(monkeypatch, tmp_path, found)


def test_the_threshold_and_the_scale_are_arguments():
    events = films()
    n_liked = [
        len(rated(events, liked=liked, min_length=1).interactions) for liked in (None, 3, 1, 4.5)
    ]
    assert n_liked == [(events["rating"] >= least).sum() for least in (4, 3, 1, 4.5)]
    halves = events.assign(rating=events["rating"] - 0.5)  # 0.5 to 4.5
    with pytest.raises(DataError, match=r"rating 0.5 is outside 1..5.*--rating-scale 0.5 4.5"):
        rated(halves)
    found = rated(halves, rating_scale=(0.5, 5), min_length=1)
    assert len(found.interactions) == (halves["rating"] >= 4).sum(), "3.875 of 0.5 to 5"
    tens = rated(events.assign(rating=events["rating"] * 2), rating_scale=(1, 10), min_length=1)
    assert len(tens.interactions) == (events["rating"] * 2 >= 8).sum()
    for reading, words in (
        ({"liked": 7}, "liked=7.* not on the scale 1..5"),
        ({"rating_scale": (5, 1)}, "lowest and the highest"),
        ({"rating_scale": (1, float("nan"))}, "lowest and the highest"),
    ):
        with pytest.raises(DataError, match=words):
            rated(events, **reading)
    with pytest.raises(DataError, match="no rating reaches 4, the highest is 1: lower --liked"):
        rated(events.assign(rating=1))
    with pytest.raises(DataError, match="row 3: rating nan is no number"):
        rated(events.assign(rating=events["rating"].where(events.index != 3)))


@pytest.mark.parametrize("users", [USERS, None])
def test_where_asked_every_rating_counts_for_coat(monkeypatch, tmp_path, users):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path))
    events = films()
    tenths = events.assign(rating=events["rating"] * 10)
    found = rated(tenths, users, all_ratings=True, rating_scale=(10, 50))
    by = ["user", "item"]
    again = rated(events, users, all_ratings=True)
    np.testing.assert_allclose(
        found.interactions.sort_values(by)["rating"], again.interactions.sort_values(by)["rating"]
    )
    assert again.interactions["split"].value_counts().to_dict() == {"train": 77, "test": 19}
    card = prepare(found, tmp_path / "mine")
    assert all(np.isfinite(error) for error in card["rmse_on_random_ratings"].values())
    assert any("a fifth of the ratings" in note for note in card["account"]["notes"])
    env = gym.make("recsim/Coat-v0", data="mine", split="test")
    env.reset(seed=0)
    assert 1 <= env.step(0)[1] <= 5
    subject = load_subject("mine")  # whose scenario is products
    assert isinstance(subject, ShopperSubject) and environment_of(subject) == "recsim/Coat-v0"
    TfidfJudge(found).choose(np.array([[0]]), np.array([[1, 2]]), np.array([0]))


def test_marks_of_ratings_are_train_and_test_and_both_are_needed(tmp_path):
    marks = np.array(["train", "test"])[np.arange(96) % 2]
    assert "rating" in rated(films(split=marks)).interactions, "Coat's shape needs no asking"
    with pytest.raises(DataError, match="row 1: split 'valid': mark"):
        rated(films(split=np.where(marks == "test", "valid", "train")))
    with pytest.raises(DataError, match="no rating with split 'test'"):
        prepare(rated(films(split="train")), tmp_path / "mine")
    lonely = films(split=marks).iloc[:8]
    with pytest.raises(DataError, match="has 1 user: give two"):
        prepare(rated(lonely, {"user_id": [0], "occupation": ["x"]}), tmp_path / "mine")
    with pytest.raises(DataError, match="no column 'rating'"):
        rated(films().drop(columns="rating"), all_ratings=True)


def test_the_command_prints_the_account_and_the_card_keeps_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "home"))
    films(rating=np.arange(96) % 10 + 1).to_csv(tmp_path / "interactions.csv", index=False)
    pd.DataFrame(FILMS).to_csv(tmp_path / "items.csv", index=False)
    pd.DataFrame(USERS).to_csv(tmp_path / "users.csv", index=False)
    command = f"recsim prepare films {tmp_path} --text title --max-epochs 1"
    for arguments, words in (
        ([], "interactions.csv, line 7: rating 6 is outside 1..5"),
        (["--rating-scale", "1", "10", "--liked", "11"], "liked=11.0 is not on the scale"),
    ):
        monkeypatch.setattr(sys, "argv", [*command.split(), *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert words in str(end.value.code)
    monkeypatch.setattr(sys, "argv", [*command.split(), *"--rating-scale 1 10 --liked 7".split()])
    cli.main()
    card = json.loads((data_home() / "films" / "card.json").read_text())
    rows = card["account"]["rows"]["interactions"]
    assert rows["read"] == 96 and rows["kept"] + sum(rows["dropped"].values()) == 96
    printed = " ".join(capsys.readouterr().out.split())
    assert "96" in printed and "rated below 7" in printed
    assert "time: column 'timestamp', numbers in s since 1970" in printed
