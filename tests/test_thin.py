"""The k-core, sessions and the first users: known answers, and every row accounted for."""

import numpy as np
import pandas as pd
import pytest

from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame
from recsim_envs.data.thin import core
from recsim_envs.errors import DataError

HOUR = 3600
ITEMS = {"item_id": list("abcdef"), "title": list("abcdef")}


def build(events, items=ITEMS, **reading):
    return from_frame("data", events, items, text="title", reading=Reading(**reading))


def shapes(dataset):
    return ["".join(dataset.items["item_id"].iloc[sequence]) for sequence in dataset.sequences]


def rows(*histories):
    """Events of users u0, u1, ...: one item an hour."""
    events = [
        (f"u{i}", x, t * HOUR) for i, items in enumerate(histories) for t, x in enumerate(items)
    ]
    return pd.DataFrame(events, columns=["user_id", "item_id", "time"])


def test_the_core_is_the_largest_part_where_all_have_k():
    """u3 goes for having one item, then d for having one user, then u2 for having one item."""
    found = build(rows("ab", "ab", "ad", "d"), k_core=2)
    assert shapes(found) == ["ab", "ab"]
    assert found.items["item_id"].tolist() == ["a", "b"]
    assert found.account["rows"]["items"] == {
        "read": 6,
        "kept": 2,
        "dropped": {"outside the 2-core": 4},
    }
    assert found.account["rows"]["interactions"]["dropped"] == {"outside the 2-core": 3}
    assert found.account["sizes"] == {
        "before": {"items": 6, "sequences": 4, "interactions": 7},
        "after": {"items": 2, "sequences": 2, "interactions": 4},
    }
    with pytest.raises(DataError, match="--k-core 3 leaves no interaction"):
        build(rows("ab", "ab", "ad", "d"), k_core=3)


def test_the_core_agrees_with_taking_away_one_at_a_time():
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, [40, 30], size=(220, 2)), axis=0)
    left = {tuple(pair) for pair in pairs.tolist()}
    while True:
        n = [{u: sum(p[side] == u for p in left) for u in range(40)} for side in (0, 1)]
        weak = [p for p in left if n[0][p[0]] < 4 or n[1][p[1]] < 4]
        if not weak:
            break
        left.remove(weak[0])
    kept = core(pairs[:, 0], pairs[:, 1], 4)
    assert {tuple(pair) for pair in pairs[kept].tolist()} == left
    assert 0 < len(left) < len(pairs)


def test_the_core_is_of_users_before_it_is_cut_into_sessions():
    events = rows("ab", "ba").assign(time=[0, 100 * HOUR, 0, 1])
    found = build(events, k_core=2, session_gap=24, min_length=1)
    assert shapes(found) == ["a", "b", "ba"]
    of_sessions = events.assign(sequence_id=[0, 1, 2, 2]).drop(columns="user_id")
    with pytest.raises(DataError, match="leaves no interaction"):
        build(of_sessions, k_core=2)


def test_sessions_end_at_pauses_longer_than_the_gap():
    events = rows("abcdef").assign(time=[HOUR * t for t in (0, 28, 56, 84.0003, 85, 200)])
    shuffled = events.sample(frac=1, random_state=0)
    for given in (events, shuffled):
        found = build(given, session_gap=28, min_length=1)
        assert shapes(found) == ["abc", "de", "f"]
        assert any(
            "1 sequences cut at pauses over 28 hours into 3" in n for n in found.account["notes"]
        )
    assert shapes(build(events, session_gap=28, min_length=2)) == ["abc", "de"]
    found = build(events, session_gap=28, min_length=3)
    assert found.account["rows"]["sequences"] == {
        "read": 3,
        "kept": 1,
        "dropped": {"fewer than 3 items": 2},
    }
    in_ms = events.assign(time=(events["time"] * 1000).astype("int64") + 1_500_000_000_000)
    assert shapes(build(in_ms, session_gap=28)) == ["abc", "de"]


def test_sessions_of_two_users_stay_apart():
    assert shapes(build(rows("ab", "cd"), session_gap=28)) == ["ab", "cd"]


def test_the_first_users_are_those_of_the_rows():
    events = rows("abc", "cd", "ef")
    found = build(events.iloc[[3, 0, 4, 1, 2, 5, 6]], max_users=2)
    assert shapes(found) == ["cd", "abc"]
    assert found.account["rows"]["interactions"]["dropped"] == {"not of the first 2 users": 2}
    assert found.n_items == 6
    rated = events.assign(rating=[5, 5, 5, 1, 5, 5, 5])
    kept = build(rated, max_users=2, min_length=1)
    assert kept.account["rows"]["interactions"]["dropped"] == {
        "rated below 4": 1,
        "not of the first 2 users": 2,
    }


@pytest.mark.parametrize(
    ("events", "reading", "words"),
    [
        (rows("ab"), {"liked": 4}, ["--liked 4", "no column 'rating'"]),
        (rows("ab"), {"rating_scale": (1, 5)}, ["--rating-scale (1, 5)", "no column 'rating'"]),
        (rows("ab").drop(columns="time"), {"session_gap": 5}, ["--session-gap 5 needs a time"]),
        (
            rows("ab").rename(columns={"user_id": "sequence_id"}),
            {"max_users": 5},
            ["--max-users 5 needs user_id"],
        ),
        (rows("ab"), {"max_users": 0}, ["--max-users 0", "1 or more"]),
        (rows("ab"), {"k_core": 0}, ["--k-core 0", "1 or more"]),
        (rows("ab"), {"session_gap": float("nan")}, ["--session-gap nan"]),
        (rows("ab"), {"min_length": 0}, ["--min-length 0"]),
    ],
)
def test_an_argument_without_a_use_is_refused(events, reading, words):
    with pytest.raises(DataError) as error:
        build(events, **reading)
    assert all(word in str(error.value) for word in words), error.value


def test_real_histories_are_cut_where_their_publisher_cut_them(real_data):
    events = pd.read_csv(real_data / "lfm" / "interactions.csv", dtype={"item_id": str})
    items = {"item_id": events["item_id"].unique(), "title": "x"}
    wanted = events.sort_values(["sequence_id", "position"])
    joined = events[["user_id", "item_id", "timestamp"]]
    found = build(joined, pd.DataFrame(items), session_gap=28, min_length=8)
    assert len(found.sequences) == wanted["sequence_id"].nunique() == 10_947
    first = [found.items["item_id"].iloc[sequence].tolist() for sequence in found.sequences[:50]]
    lists = [list(of) for _, of in wanted.groupby("sequence_id", sort=False)["item_id"]]
    assert all(sequence in lists for sequence in first)


def test_a_real_core_is_its_own_core(real_data):
    events = pd.read_csv(real_data / "industry" / "interactions.csv", dtype={"item_id": str})
    items = pd.DataFrame({"item_id": events["item_id"].unique(), "title": "x"})
    found = build(events, items, k_core=5)
    assert len(found.interactions) == len(events) == 59_427
    assert found.n_items == 4385
