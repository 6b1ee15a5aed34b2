"""The learned rewards: fit, figures, repeats, and the two forms of one function."""

import numpy as np
import pytest
import torch
from rich.console import Console

from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame
from recsim_envs.data.text import text_features
from recsim_envs.errors import DataError
from recsim_envs.rewards.baselines import baseline_figures, item_knn_scores, item_similarity
from recsim_envs.rewards.card import print_card
from recsim_envs.rewards.evaluate import (
    Questions,
    calibration_error,
    questions_of,
    rank,
    ranking_figures,
    reward_model_figures,
)
from recsim_envs.rewards.fit import cut_windows, fit_reward_model
from recsim_envs.rewards.prepare import prepare, save_reward_model
from recsim_envs.rewards.repeats import repeat_rates, transitions_of
from recsim_envs.rewards.reward_model import SequenceRewardModel
from recsim_envs.rewards.sequence import SequenceReward, newest_places


def fit(dataset: Dataset, folder, numbers, features=None, name="model", **changes):
    """Fits on the sequences and returns the reward as it is stored and used."""
    sequences = [dataset.sequences[number] for number in numbers]
    arguments = {"seed": 0, "embedding_dim": 16, "similarity_dim": 16, **changes}
    model = fit_reward_model(sequences, dataset.n_items, item_features=features, **arguments)
    save_reward_model(model, sequences, 0, folder / f"{name}.safetensors")
    return SequenceReward.load(folder / f"{name}.safetensors")


def test_windows_hold_every_transition_once():
    sequences = [np.arange(5), np.arange(5, 18), np.array([18])]
    windows = cut_windows(sequences, n_items=20, history_length=4)
    pairs = [
        (int(h), int(t))
        for history, target in zip(windows["history"], windows["target"], strict=True)
        for h, t in zip(history, target, strict=True)
        if t != 20
    ]
    assert sorted(pairs) == [(i, i + 1) for i in [*range(4), *range(5, 17)]]


@pytest.mark.parametrize("start", ["text", "random"])
def test_reward_model_learns_the_rings(chains, tmp_path, start):
    features = text_features(chains, 16) if start == "text" else None
    reward = fit(chains, tmp_path, chains.train, features)
    held_out = [chains.sequences[number] for number in chains.held_out]
    # The next item of a ring of 5 is what came 5 items ago: a repeat, which data like this keeps.
    following = [sequence[:5] for sequence in held_out]
    questions = questions_of(following, chains.n_items, 12)
    figures = reward_model_figures(reward, questions)
    assert figures["hr_at_10"] == 1.0
    assert figures["ndcg_at_10"] > 0.95
    assert figures["auc"] > 0.95
    rates = {row["lag"]: row for row in repeat_rates(reward, held_out)}
    assert rates[5]["data"] == 1.0 and rates[5]["simulated"] > 0.98
    assert rates[1]["data"] == 0.0 and rates[1]["simulated"] < 0.01
    again = fit(chains, tmp_path, chains.train, features)
    assert reward_model_figures(again, questions) == figures


def test_numpy_and_torch_are_one_function():
    torch.manual_seed(0)
    n_items, length = 30, 12
    model = SequenceRewardModel(n_items, length, embedding_dim=16, similarity_dim=8).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.encoder.item_embedding.weight[n_items] = 0.0
        model.similarity_embedding.weight[n_items] = 0.0
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    repeats = np.arange(1, length + 1, dtype=np.float32)
    reward = SequenceReward(weights | {"repeat_bias": repeats})
    rng = np.random.default_rng(0)
    histories = np.full((40, length), n_items)
    for row, size in enumerate(rng.integers(0, length + 1, 40)):
        histories[row, length - size :] = rng.integers(n_items, size=size)
    histories[0] = n_items  # a user who had nothing yet
    with torch.no_grad():
        expected = (
            model.shared_logits(
                model.queries(torch.from_numpy(histories))[:, -1], torch.arange(n_items)
            )
            .double()
            .numpy()
        )
        vectors = model.similarity_embedding.weight.numpy()
        for row, history in enumerate(histories):  # no item is similar to itself
            newest_first = history[::-1].tolist()
            for item in set(newest_first) - {n_items}:
                lag = newest_first.index(item)
                expected[row, item] -= weights["lag_weight"][lag] * (vectors[item] ** 2).sum()
        items = rng.integers(n_items, size=40)
    everything = np.tile(np.arange(n_items), (40, 1))
    assert reward.scores_of(histories, everything) == pytest.approx(expected, abs=1e-4)
    for row, history in enumerate(histories):
        for item in range(n_items):
            places = np.flatnonzero(history[::-1] == item)
            if len(places):
                expected[row, item] += repeats[places[0]]
    probability = 1 / (1 + np.exp(-expected))
    assert reward.probabilities(histories) == pytest.approx(probability, abs=1e-5)
    assert reward.probability(histories, items) == pytest.approx(
        probability[np.arange(40), items], abs=1e-5
    )
    # A shorter batch is cut to its longest history, which changes nothing.
    short = histories[(histories < n_items).sum(axis=1) <= 4]
    assert reward.probabilities(short) == pytest.approx(
        probability[(histories < n_items).sum(axis=1) <= 4], abs=1e-5
    )


def test_rescaling_is_exact():
    torch.manual_seed(0)
    model = SequenceRewardModel(9, 5, embedding_dim=8, similarity_dim=4).eval()
    histories = torch.tensor([[3, 1, 4, 1, 5], [9, 9, 9, 2, 6]])
    with torch.no_grad():
        before = model.shared_logits(model.queries(histories), torch.arange(9))
        model.rescale(0.7, -1.5)
        after = model.shared_logits(model.queries(histories), torch.arange(9))
    assert torch.allclose(after, 0.7 * before - 1.5, atol=1e-5)


def test_prefixes_in_training_are_histories_in_use():
    torch.manual_seed(0)
    model = SequenceRewardModel(9, 5, embedding_dim=8, similarity_dim=4).eval()
    history = torch.tensor([[3, 1, 4, 1, 3]])
    with torch.no_grad():
        prefixes = model.queries(history)[0]
        for size in range(1, 6):
            padded = torch.full((1, 5), 9)
            padded[0, 5 - size :] = history[0, :size]
            assert torch.allclose(model.queries(padded)[0, -1], prefixes[size - 1], atol=1e-5)
        # By hand: the newest item is 3, then 1, then 4; older places of 3 and 1 do not count.
        own = model.similarity_embedding.weight
        w = model.lag_weight
        by_hand = w[0] * own[3] + w[1] * own[1] + w[2] * own[4]
        assert torch.allclose(prefixes[-1, 8:], by_hand, atol=1e-5)


def random_shop(repeats: float, n: int = 1500, n_items: int = 200) -> Dataset:
    """Random items; with probability ``repeats`` the next one is the one two items ago."""
    rng = np.random.default_rng(0)
    sequences = rng.integers(n_items, size=(n, 8))
    for place in range(2, 8):
        again = rng.random(n) < repeats
        sequences[again, place] = sequences[again, place - 2]
    rows = {"sequence_id": np.repeat(np.arange(n), 8), "item_id": sequences.ravel()}
    items = {"item_id": range(n_items), "title": [f"thing {i}" for i in range(n_items)]}
    return from_frame(
        "random", rows, items, text="title", replica=True, reading=Reading(rows_in_order=True)
    )


@pytest.mark.parametrize("repeats", [0.0, 0.02, 0.5])
def test_repeats_come_as_often_as_in_the_data(tmp_path, repeats):
    shop = random_shop(repeats)
    reward = fit(shop, tmp_path, shop.train, max_epochs=3)
    held_out = [shop.sequences[number] for number in shop.held_out]
    for row in repeat_rates(reward, held_out):
        noise = np.sqrt(max(row["data"], 1 / 200) / row["transitions"])
        assert row["simulated"] == pytest.approx(row["data"], abs=4 * noise), row
    two_ago = {row["lag"]: row for row in repeat_rates(reward, held_out)}[2]
    assert two_ago["data"] == pytest.approx(repeats, abs=0.05)


def test_places_and_transitions_by_hand():
    found = transitions_of([np.array([0, 1, 0, 2]), np.array([3])], n_items=4, history_length=3)
    assert found.histories.tolist() == [[4, 4, 0], [4, 0, 1], [0, 1, 0]]
    assert found.following.tolist() == [1, 0, 2]
    assert newest_places(found.histories, 4).tolist() == [
        [False, False, True],
        [False, True, True],
        [False, True, True],
    ]


def test_ranks_by_hand():
    histories = np.array([[5, 5, 0], [5, 5, 1], [5, 5, 2]])
    questions = Questions(histories, np.array([1, 1, 3]))
    scores = np.array([9.0, 1.0, 2.0, 1.0, 0.0])  # of items 0..4; item 0 is left out at first
    ranks = rank(lambda h: np.tile(scores, (len(h), 1)), questions, 5)
    assert ranks.tolist() == [2.5, np.inf, 2.5]  # a tie counts half; a repeat can't be found
    figures = ranking_figures(lambda h: np.tile(scores, (len(h), 1)), questions, 5)
    assert figures["hr_at_10"] == pytest.approx(2 / 3)
    assert figures["ndcg_at_10"] == pytest.approx(2 / 3 / np.log2(3.5))


def test_item_knn_by_hand():
    # Items 0 and 1 share one of their two sequences each: cosine 1/2. Item 2 is alone.
    sequences = [np.array([0, 1]), np.array([0, 2]), np.array([1])]
    scores = item_knn_scores(np.array([[3, 0]]), item_similarity(sequences, 3))
    assert scores[0] == pytest.approx([0.0, 0.5, 1 / np.sqrt(2)])


def test_calibration_error_by_hand():
    probability = np.array([0.25, 0.25, 0.85, 0.85], dtype=np.float32)
    assert calibration_error(probability, np.array([0, 0, 1, 1])) == pytest.approx(0.2)
    assert calibration_error(probability, np.array([0, 1, 1, 1])) == pytest.approx(0.2)


@pytest.mark.parametrize("title", ["", "\U0001f600", "same"])
def test_texts_without_words_start_at_random_and_say_so(tmp_path, caplog, title):
    events = {"user_id": np.repeat(np.arange(20), 4), "item_id": np.arange(80) % 12}
    items = {"item_id": range(12), "title": [title] * 12}
    dataset = from_frame("bare", events, items, text="title", reading=Reading(rows_in_order=True))
    card = prepare(dataset, tmp_path / "bare", max_epochs=1, embedding_dim=8)
    assert card["item_vectors_start"].startswith("random")
    assert "start at random" in caplog.text


def test_card_shows_the_baselines_on_the_same_questions(chains, tmp_path):
    card = prepare(chains, tmp_path / "chains", max_epochs=1, embedding_dim=8)
    baselines = card["baselines_on_the_same_questions"]
    assert set(baselines) == {
        "popularity",
        "item-kNN",
        "nearest text, newest item",
        "nearest text, whole history",
    }
    held_out = [chains.sequences[number] for number in chains.held_out]
    questions = questions_of(held_out, chains.n_items, 12)
    assert baseline_figures(chains, questions) == baselines
    screen = Console(width=200, record=True)
    print_card(card, screen)
    shown = screen.export_text()
    for name in (*card["models"], *baselines):
        row = next(line for line in shown.splitlines() if f"│ {name} " in line)
        found = baselines.get(name) or card["models"][name]["held_out_last_items"]
        assert f"{found['hr_at_10']:.3f}" in row
    assert "REPLICA" in shown
    of_model = card["models"]["train"]["held_out_last_items"]
    assert {figures["n"] for figures in (of_model, *baselines.values())} == {40}


def test_a_reward_model_of_the_first_version_says_so(tmp_path):
    from safetensors.numpy import save_file

    save_file({"item_bias.weight": np.zeros((3, 1), np.float16)}, tmp_path / "train.safetensors")
    with pytest.raises(DataError, match="older version.*recsim prepare"):
        SequenceReward.load(tmp_path / "train.safetensors")


def test_what_is_stored_is_nearly_what_was_fitted(tmp_path):
    torch.manual_seed(0)
    model = SequenceRewardModel(50, 12, embedding_dim=16, similarity_dim=8).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    reward = SequenceReward(weights | {"repeat_bias": np.full(12, -2.0, np.float32)})
    reward.save(tmp_path / "one.safetensors")
    stored = SequenceReward.load(tmp_path / "one.safetensors")
    histories = np.random.default_rng(0).integers(50, size=(30, 12))
    assert stored.probabilities(histories) == pytest.approx(
        reward.probabilities(histories), abs=0.01
    )
    stored.save(tmp_path / "two.safetensors")
    one, two = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two, "written and read again, nothing more is lost"


def test_data_without_a_held_out_choice_is_refused(tmp_path):
    alone = from_frame(
        "alone",
        {"user_id": [1, 1], "item_id": [0, 1]},
        {"item_id": range(10)},
        text="item_id",
        reading=Reading(rows_in_order=True),
    )
    with pytest.raises(DataError, match="held-out sequences of 'alone'"):
        prepare(alone, tmp_path / "alone")
    assert not (tmp_path / "alone").exists()
