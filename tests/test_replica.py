"""The replicas: counts, known answers of the walk, and the shape of the real data."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsim_envs.data.tables import from_frame
from recsim_envs.errors import DataError
from tools.replica import generate_coat, generate_industry, generate_lfm
from tools.replica.sessions import (
    Moves,
    companions,
    cover,
    item_weights,
    occurrence,
    pareto_parts,
    parts,
    same,
    take_again,
    walk,
    zipf,
)
from tools.replica.shape import describe, describe_ratings
from tools.replica.text import phrases, plural

REAL = Path(os.environ.get("RECSIM_TEST_DATA", Path(__file__).parents[1] / "../shared/data"))
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data in {REAL}")


@pytest.fixture(scope="module")
def lfm():
    return generate_lfm()


@pytest.fixture(scope="module")
def industry():
    return generate_industry()


@pytest.fixture(scope="module")
def coat():
    return generate_coat()


def counts_of(dataset):
    return np.bincount(dataset.interactions["item"], minlength=dataset.n_items)


def test_counts_are_those_of_table_2(lfm, industry, coat):
    assert (lfm.n_items, len(lfm.sequences), len(lfm.interactions)) == (18_297, 10_947, 146_400)
    assert (industry.n_items, len(industry.interactions)) == (5_850, 71_600)
    assert min(map(len, lfm.sequences)) == 8
    assert min(map(len, industry.sequences)) == 5
    dataset, matrix = coat
    assert (dataset.n_users, dataset.n_items, matrix.shape) == (290, 300, (290, 300))
    sizes = dataset.interactions.groupby(["split", "sequence"]).size()
    assert set(sizes["train"]) == {24}
    assert set(sizes["test"]) == {16}


def test_a_replica_is_called_one(lfm, industry, coat):
    for dataset, name in ((lfm, "lfm"), (industry, "industry"), (coat[0], "coat")):
        assert dataset.replica
        assert dataset.name == f"{name}-replica"
        assert "REPLICA" in repr(dataset)


def test_every_item_occurs(lfm, industry):
    assert counts_of(lfm).min() >= 1
    assert counts_of(industry).min() >= 5  # the real set is its 5-core


def test_lfm_repeats_no_track_in_a_session(lfm):
    assert describe(lfm, [])["repeats"] == 0


def test_shoppers_buy_again_as_often_as_the_real_ones(industry):
    assert describe(industry, [])["repeats"] == pytest.approx(0.005, abs=0.001)
    events = industry.interactions
    back = [
        (events["item"] == events["item"].shift(lag))[
            events["sequence"] == events["sequence"].shift(lag)
        ].mean()
        for lag in (1, 2)
    ]
    assert back == pytest.approx([0.0028, 0.0017], abs=0.0008)  # the real set's


def test_popularity_follows_zipf_and_mandelbrot(lfm, industry):
    rng = np.random.default_rng(0)
    for dataset, exponent, offset in ((lfm, 0.7, 0.015), (industry, 0.7, 0.003)):
        n, events = dataset.n_items, len(dataset.interactions)
        independent = rng.multinomial(events, zipf(n, exponent, offset * n))
        expected, found = (
            np.cumsum(np.sort(counts)[::-1]) / events
            for counts in (independent, counts_of(dataset))
        )
        for place in (n // 100, n // 10, n // 2):
            # A move within a small group, and the least count, even it out a little.
            assert found[place] == pytest.approx(expected[place], abs=0.05)
        assert found[n // 10] > 0.3  # evenly popular items would have 0.1


def test_item_texts_carry_the_attributes(lfm, industry, coat):
    for dataset, columns in (
        (lfm, ("title", "artist")),  # as the real set's
        (industry, ("title", "brand")),
        (coat[0], ("gender",)),
    ):
        for column in columns:
            pairs = zip(dataset.items[column], dataset.items["text"], strict=True)
            assert all(value in text for value, text in pairs), column
    leaf = industry.items["category"].str.split(" > ").str[-1]
    assert all(end in text for end, text in zip(leaf, industry.items["text"], strict=True))
    assert not lfm.items.duplicated(["text", "album"]).any()
    assert industry.items["text"].nunique() == industry.n_items
    assert lfm.items["text"].str.split(" ").str.len().max() < 30


def test_an_artist_has_one_genre(lfm):
    assert set(lfm.items.groupby("artist")["genre"].nunique()) == {1}


@pytest.mark.parametrize("generate", [generate_lfm, generate_industry])
def test_the_seed_decides_everything(generate):
    one, again, other = (generate(seed, n_items=600, n_sequences=800) for seed in (3, 3, 4))
    assert one.hash == again.hash
    assert one.hash != other.hash
    assert one.n_items == 600
    assert len(one.sequences) == 800


def test_the_seed_decides_coat():
    (one, ratings), (again, ratings_again), (other, _) = map(generate_coat, (3, 3, 4))
    assert one.hash == again.hash != other.hash
    np.testing.assert_array_equal(ratings, ratings_again)


def test_too_few_events_are_refused():
    with pytest.raises(DataError, match="n_items=900.*raise n_sequences"):
        generate_industry(n_items=900, n_sequences=100)
    with pytest.raises(DataError, match="n_items=60 .*raise n_items"):
        generate_lfm(n_items=60, n_sequences=5_000)


def test_sessions_share_attributes_far_above_chance(lfm, industry):
    for dataset, attributes in ((lfm, ("artist", "genre")), (industry, ("brand", "category"))):
        figures = describe(dataset, attributes)
        for attribute in attributes:
            shared = figures[f"{attribute}: next same"]
            assert shared > 8 * figures[f"{attribute}: chance same"], attribute
            assert figures[f"{attribute}: recent same"] > shared


@pytest.mark.parametrize("recall", [0.0, 0.5])
def test_walk_follows_its_mixture(recall):
    # 50 groups of 1,000 items are never exhausted, so the mixture alone decides.
    rng = np.random.default_rng(0)
    n_items = 50_000
    group = np.arange(n_items) % 50
    ladder = [same(group, np.ones(n_items)), same(np.zeros_like(group), np.ones(n_items))]
    # Mean share of close moves 2/5; a close one keeps the group with probability 3/4.
    moves = Moves(stickiness=(2.0, 3.0), close=(0.75, 0.25), far=(0.0, 1.0), recall=recall)
    items = walk(rng, n_items, np.full(20_000, 3), ladder, moves).reshape(-1, 3)
    groups = group[items]
    kept = (groups[:, 1] == groups[:, 0]).mean()  # the second item has only one possible anchor
    expected = 0.4 * 0.75 + (1 - 0.4 * 0.75) / 50
    assert kept == pytest.approx(expected, abs=0.01)
    # The third takes the first as its anchor with probability recall / 2.
    apart = groups[:, 1] != groups[:, 0]
    back = (groups[apart, 2] == groups[apart, 0]).mean()
    assert (back > 0.06) == (recall > 0)


def test_walk_keeps_the_items_popularity():
    rng = np.random.default_rng(0)
    n_items = 2_000
    weight = rng.permutation(zipf(n_items, 0.6, 20.0))
    group = np.arange(n_items) // 100
    ladder = [same(group, weight), same(np.zeros_like(group), weight)]
    moves = Moves(stickiness=(1.0, 1.0), close=(1.0, 0.0), far=(0.0, 1.0), recall=0.3)
    items = walk(rng, n_items, np.full(60_000, 5), ladder, moves)
    found = np.bincount(items, minlength=n_items) / len(items)
    # 150 events an item: Poisson noise of 8%, more for the sessions' clustering.
    assert np.corrcoef(found, weight)[0, 1] > 0.97
    top = weight >= np.quantile(weight, 0.9)
    assert found[top].sum() == pytest.approx(weight[top].sum(), rel=0.05)


def test_walk_repeats_nothing_even_where_groups_are_small():
    rng = np.random.default_rng(0)
    group = np.arange(100) // 2
    ladder = [same(group, np.ones(100)), same(np.zeros_like(group), np.ones(100))]
    moves = Moves(stickiness=(50.0, 1.0), close=(1.0, 0.0), far=(0.0, 1.0), recall=0.0)
    sessions = walk(rng, 100, np.full(500, 30), ladder, moves).reshape(500, 30)
    assert (np.diff(np.sort(sessions, axis=1), axis=1) > 0).all()


def test_same_draws_by_weight_within_the_group():
    draw = same(np.array([1, 0, 1, 0]), np.array([1.0, 5.0, 3.0, 5.0]))
    items = draw(np.random.default_rng(0), np.full(20_000, 2))
    counts = np.bincount(items, minlength=4) / len(items)
    np.testing.assert_allclose(counts, [0.25, 0, 0.75, 0], atol=0.01)


def test_take_again_looks_back_within_the_session():
    rng = np.random.default_rng(0)
    lengths = np.array([1, 100_000, 1])
    events = np.arange(lengths.sum())
    lag = events - take_again(rng, lengths, events, rate=0.1)
    assert lag[0] == lag[-1] == lag[1] == 0  # nothing to look back to
    found = np.bincount(lag, minlength=3)[1:3] / 100_000
    np.testing.assert_allclose(found, [0.04, 0.024], atol=0.003)


def test_companions_share_a_home_but_for_those_abroad():
    home = np.repeat(np.arange(10), 60)
    for abroad in (0.0, 0.5):
        group = companions(np.random.default_rng(0), home, size=6, abroad=abroad)
        assert (np.bincount(group) == 6).all()
        alone = [len(set(home[group == g])) == 1 for g in range(100)]
        assert all(alone) == (abroad == 0)


def test_cover_takes_events_from_the_same_group():
    events = np.array([0, 0, 0, 2, 2, 2])  # items 0, 1 are one group, 2, 3 another
    covered = cover(np.random.default_rng(0), events, 1, [np.array([0, 0, 1, 1])])
    np.testing.assert_array_equal(np.sort(covered[:3]), [0, 0, 1])
    np.testing.assert_array_equal(np.sort(covered[3:]), [2, 2, 3])


def test_parts_keep_total_minimum_and_proportions():
    np.testing.assert_array_equal(parts(np.array([1.0, 3.0, 0.0]), 18, minimum=2), [5, 11, 2])
    lengths = pareto_parts(np.random.default_rng(0), 1_000, 13_374, minimum=8, shape=3.5)
    assert (lengths.sum(), lengths.min()) == (13_374, 8)
    with pytest.raises(DataError, match="total=5"):
        parts(np.ones(3), 5, minimum=2)


def test_item_weights_are_zipf_and_shared_within_groups():
    group = np.repeat(np.arange(400), 10)
    rng = np.random.default_rng(0)
    for shared in (0.0, 0.8):
        weight = item_weights(rng, group, shared, exponent=0.7, offset=0.02)
        np.testing.assert_allclose(np.sort(weight)[::-1], zipf(4_000, 0.7, 80.0))
        rank = np.argsort(np.argsort(weight)).reshape(400, 10)
        assert np.corrcoef(rank[:, 0], rank[:, 1])[0, 1] == pytest.approx(shared, abs=0.12)


def test_occurrence_counts_the_equal_values_before():
    np.testing.assert_array_equal(occurrence(np.array([3, 1, 3, 3, 1])), [0, 0, 1, 2, 1])


def test_phrases_differ_or_say_why_not():
    rng = np.random.default_rng(0)
    pool = {"a": ["x", "y"], "b": ["1", "2"]}
    found = phrases(rng, ["{a}{b}"], [pool], np.zeros(4, dtype=np.int64))
    assert sorted(found) == ["x1", "x2", "y1", "y2"]
    with pytest.raises(DataError, match="lower n_items or add words"):
        phrases(rng, ["{a}{b}"], [pool], np.zeros(5, dtype=np.int64))


@pytest.mark.parametrize(
    ("one", "many"),
    [("hose", "hoses"), ("box", "boxes"), ("brush", "brushes"), ("relay", "relays")]
    + [("dolly", "dollies"), ("glass", "glasses"), ("bus", "buses"), ("epoxy", "epoxies")],
)
def test_plural(one, many):
    assert plural(one) == many


def test_coat_shoppers_choose_what_they_like_and_what_is_theirs(coat):
    dataset, matrix = coat
    events = dataset.interactions
    assert events["rating"].isin(range(1, 6)).all()
    assert (events["user"] == events["sequence"]).all()
    rated = events.assign(
        liked=matrix[events["user"].to_numpy(), events["item"].to_numpy()],
        own=dataset.users["gender"].to_numpy()[events["user"]]
        == dataset.items["gender"].to_numpy()[events["item"]],
    )
    chosen, at_random = (rated[rated["split"] == split] for split in ("train", "test"))
    assert chosen["own"].mean() == pytest.approx(0.87, abs=0.04)  # the real data's
    assert at_random["own"].mean() == pytest.approx(0.5, abs=0.04)
    assert at_random["liked"].mean() == pytest.approx(matrix.mean(), abs=0.05)
    assert chosen["liked"].mean() > at_random["liked"].mean() + 0.1
    assert chosen["rating"].mean() > at_random["rating"].mean() + 0.1
    correlation = np.corrcoef(rated["rating"], rated["liked"])[0, 1]
    assert 0.5 < correlation < 0.9


def test_coat_random_policy_leaves_when_the_real_ones_users_do(coat):
    matrix = coat[1]
    distance = np.linalg.norm(matrix[:, :, None] - matrix[:, None, :], axis=0)
    rng = np.random.default_rng(0)
    actions = rng.integers(300, size=(10_000, 30))
    users = rng.integers(290, size=10_000)
    length = np.full(10_000, 30)
    for t in range(29, 0, -1):  # the earliest reason to leave is written last
        recent = actions[:, max(0, t - 7) : t]
        length[(distance[actions[:, [t]], recent] < 6).any(axis=1)] = t + 1
    seen = np.arange(30) < length[:, None]
    assert length.mean() == pytest.approx(11.7, abs=0.8)
    assert matrix[users[:, None], actions][seen].mean() == pytest.approx(2.25, abs=0.06)


@needs_real_data
def test_coat_ratings_have_the_real_shape(coat):
    real = describe_ratings(np.loadtxt(REAL / "raw/coat/coat_pseudoGT_ratingM.ascii").astype(int))
    replica = describe_ratings(coat[1])
    for figure, value in real.items():
        tolerance = 0.06 if "distance" in figure else 0.15
        assert replica[figure] == pytest.approx(value, rel=tolerance, abs=0.03), figure


@needs_real_data
@pytest.mark.parametrize("name", ["lfm", "industry"])
def test_sessions_have_the_real_shape(name, request):
    attributes = {"lfm": ["artist", "genre"], "industry": ["brand", "category"]}[name]
    real = from_frame(
        name,
        pd.read_csv(REAL / name / "interactions.csv"),
        pd.read_csv(REAL / name / "items.csv", dtype=str),
        text="title",
    )
    expected = describe(real, attributes)
    found = describe(request.getfixturevalue(name), attributes)
    for figure in ("shortest", "median length", "95% length", "longest"):
        assert found[figure] == pytest.approx(expected[figure], rel=0.1), figure
    for figure, value in expected.items():
        if "share" in figure or "same" in figure or figure == "repeats":
            assert found[figure] == pytest.approx(value, abs=0.07), figure


@needs_real_data
def test_no_item_or_name_is_a_real_one(lfm, industry):
    def names(table, *columns):
        known = table[list(columns)].dropna()
        return set(known.agg("|".join, axis=1).str.lower())

    tracks = pd.read_csv(REAL / "lfm/items.csv", dtype=str)
    goods = pd.read_csv(REAL / "industry/items.csv", dtype=str)
    for made_up, real, columns in (
        (lfm.items, tracks, ["artist"]),
        (lfm.items, tracks, ["title", "artist"]),
        (industry.items, goods, ["brand"]),
        (industry.items, goods, ["title"]),
        (industry.items, goods, ["category"]),
    ):
        assert not names(made_up, *columns) & names(real, *columns), columns
