"""Nested choice models with known answers, and the command around them."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from benchmarks.judge_gain import HISTORY, Settings, draw_questions, main
from llm_oracle.study import evaluate
from llm_oracle.study.choice_model import cross_fitted, fit_logit, mean_by_sequence
from llm_oracle.study.evaluate import LIKED, Questions
from llm_oracle.study.nested import nested_models, text_likeness
from recsim_envs.data.reading import Reading
from recsim_envs.data.store import load_data
from recsim_envs.data.tables import from_frame
from recsim_envs.errors import DataError

N, K = 2000, 10
WEIGHTS = np.array([0.8, 1.5, 0.0])

pytestmark = pytest.mark.usefixtures("one_thread")


def choices_of(weights, n=N, seed=0, units=(1.0, 0.01, 30.0)):
    """Choices from a known conditional logit, and the log-likelihood of its own probabilities."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, K, len(weights)))
    utilities = features @ weights
    answers = (utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1)
    best = log_softmax(utilities, axis=1)[np.arange(n), answers]
    sequences = rng.integers(n // 3, size=n)
    return features * np.array(units), answers, sequences, best


def gain(features, answers, sequences, n, m):
    """What features n..m-1 add to the first n."""
    less, _ = cross_fitted(features[..., :n], answers, sequences, 10)
    more, _ = cross_fitted(features[..., :m], answers, sequences, 10)
    return mean_by_sequence(more - less, sequences)


def test_a_fit_finds_the_weights_in_the_features_units():
    features, answers, _, _ = choices_of(WEIGHTS, n=20_000)
    found = fit_logit(features, answers) * np.array([1.0, 0.01, 30.0])
    np.testing.assert_allclose(found, WEIGHTS, atol=0.04)


def test_a_feature_that_decides_keeps_a_finite_weight_and_a_constant_one_is_ignored():
    answers = np.arange(50) % K
    features = np.stack([np.eye(K)[answers], np.ones((50, K))], axis=2)
    weights = fit_logit(features, answers)
    assert np.isfinite(weights).all()
    assert weights[0] > 5
    assert weights[1] == pytest.approx(0)


@pytest.mark.parametrize("seed", range(3))
def test_an_uninformative_score_gains_nothing(seed):
    features, answers, sequences, _ = choices_of(WEIGHTS, seed=seed)
    found = gain(features, answers, sequences, 2, 3)
    assert found.low <= 0
    # 10 fits of one weight too many: about 1 / (2 N) is lost.
    assert abs(found.value) < 0.002


def test_a_true_feature_gains_what_it_should():
    features, answers, sequences, best = choices_of(WEIGHTS)
    # What popularity alone can reach, of so many choices that one weight fits them without error.
    many, their_answers, _, their_best = choices_of(WEIGHTS, n=50_000, seed=1)
    weight = fit_logit(many[..., :1], their_answers)
    alone = log_softmax(many[..., :1] @ weight, axis=1)[np.arange(50_000), their_answers]
    expected = their_best.mean() - alone.mean()
    found = gain(features, answers, sequences, 1, 2)
    assert found.low < expected < found.high
    assert found.value == pytest.approx(expected, rel=0.1)
    likelihood, _ = cross_fitted(features, answers, sequences, 10)
    assert likelihood.mean() == pytest.approx(best.mean(), abs=0.005)


def test_nested_models_are_what_their_features_know():
    """Text decides beyond popularity; one judge knows the rest, the other nothing, each apart."""
    weights, n = np.array([0.8, 1.5, 0.0, 1.0]), 500
    features, answers, sequences, _ = choices_of(weights, n, units=np.ones(4))
    slates = np.zeros((n, K), dtype=np.int64)
    questions = Questions(slates, slates, None, answers, sequences)
    noise = np.random.default_rng(9).standard_normal((n, K))
    judges = [("knows", features[..., 3]), ("noise", noise)]
    popularity, text, knows, nothing = nested_models(features[..., :3], judges, questions, 5)
    assert [m.model for m in (popularity, text, nothing)] == ["popularity", "+ TF-IDF", "+ noise"]
    assert text.log_likelihood.value - popularity.gain.value - text.gain.value == pytest.approx(
        -np.log(K)
    )
    assert knows.gain.low > 0.1
    assert knows.gain.value == pytest.approx(knows.log_likelihood.value - text.log_likelihood.value)
    # Over text, not over the judge before it.
    assert nothing.gain.low <= 0 and abs(nothing.gain.value) < 0.01


def test_choices_by_chance_are_as_likely_as_chance():
    features, answers, sequences, _ = choices_of(np.zeros(3))
    likelihood, right = cross_fitted(features, answers, sequences, 10)
    assert likelihood.mean() == pytest.approx(-np.log(K), abs=0.005)
    assert right.mean() == pytest.approx(1 / K, abs=3 * np.sqrt(0.09 / N))


def test_a_sequence_never_decides_how_it_is_predicted():
    features, answers, _, _ = choices_of(WEIGHTS, n=60)
    sequences = np.arange(60) % 12
    before, _ = cross_fitted(features, answers, sequences, 12)
    first, *rest = np.flatnonzero(sequences == 3)
    changed = answers.copy()
    changed[rest] = (answers[rest] + 1) % K
    after, _ = cross_fitted(features, changed, sequences, 12)
    assert after[first] == before[first]
    assert (after[sequences != 3] != before[sequences != 3]).all()


def test_folds_need_as_many_sequences():
    features, answers, _, _ = choices_of(WEIGHTS, n=60)
    with pytest.raises(ValueError, match="n_splits=5"):
        cross_fitted(features, answers, np.arange(60) % 4, 5)


def test_copies_of_a_question_do_not_narrow_the_interval():
    values = np.random.default_rng(0).standard_normal(100)
    once = mean_by_sequence(values, np.arange(100))
    copied = mean_by_sequence(values.repeat(7), np.arange(100).repeat(7))
    assert tuple(copied) == pytest.approx(tuple(once))


def test_questions_are_what_users_really_took(chains):
    weights = np.ones(chains.n_items)
    questions = draw_questions(chains, weights, 50, 5, seed=3)
    sequences = questions.sequences
    true = questions.slates[np.arange(50), questions.answers]
    assert set(sequences) <= set(chains.held_out)
    for row, sequence in enumerate(sequences):
        items = chains.sequences[sequence]
        past = questions.histories[row][questions.histories[row] < chains.n_items]
        assert 1 <= len(past) <= HISTORY
        assert items[: len(past) + 1].tolist() == [*past, true[row]]
        assert not set(np.delete(questions.slates[row], questions.answers[row])) & set(items)
        assert len(set(questions.slates[row])) == 5
    assert set(questions.answers) == set(range(5))


def test_weights_change_the_other_candidates_only(chains):
    evenly = draw_questions(chains, np.ones(20), 300, 3, seed=0)
    weights = np.where(np.arange(20) % 5 == 0, 50.0, 1.0)
    skewed = draw_questions(chains, weights, 300, 3, seed=0)
    rows = np.arange(300)
    np.testing.assert_array_equal(evenly.sequences, skewed.sequences)
    np.testing.assert_array_equal(evenly.histories, skewed.histories)
    np.testing.assert_array_equal(evenly.answers, skewed.answers)
    true = evenly.slates[rows, evenly.answers]
    np.testing.assert_array_equal(true, skewed.slates[rows, skewed.answers])
    wrong = skewed.slates[np.arange(3) != skewed.answers[:, None]]
    assert (wrong % 5 == 0).mean() > 0.8


def test_ratings_decide_what_a_choice_is_and_users_are_their_own():
    coat = load_data("replica/coat")
    questions = draw_questions(coat, np.ones(coat.n_items), 30, 5, seed=0)
    for row, sequence in enumerate(questions.sequences):
        mine = coat.interactions[coat.interactions["sequence"] == sequence]
        assert questions.users[row] == mine["user"].iloc[0]
        liked = set(mine["item"][mine["rating"] >= LIKED])
        past = questions.histories[row][questions.histories[row] < coat.n_items]
        assert {*past, questions.slates[row, questions.answers[row]]} <= liked


def test_too_few_items_are_refused(chains):
    with pytest.raises(DataError, match="lower k"):
        draw_questions(chains, np.ones(20), 5, 19, seed=0)


def test_likeness_is_a_cosine_to_the_newest_and_to_all():
    titles = ["red bolt", "red nut", "blue nut", "green tea"]
    events = {"user_id": [0, 0, 1, 1], "item_id": [0, 1, 2, 3]}
    items = {"item_id": range(4), "title": titles}
    shop = from_frame("shop", events, items, text="title", reading=Reading(rows_in_order=True))
    history = np.full((1, HISTORY), 4)
    history[0, -2:] = 0, 2
    nothing = np.zeros(1)
    questions = Questions(history, np.array([[0, 1, 2, 3]]), None, nothing, nothing)
    likeness = text_likeness(shop, questions)
    newest, whole = likeness[0, :, 0], likeness[0, :, 1]
    assert newest[2] == pytest.approx(1)
    assert newest[0] == newest[3] == whole[3] == 0
    assert 0 < newest[1] < 1
    # Two unlike items of length 1 sum to one of length sqrt(2).
    np.testing.assert_allclose(whole[[0, 2]], np.sqrt(0.5))
    assert 0 < whole[1] <= 1


@pytest.mark.parametrize("data", ["replica/coat", "replica/industry"])
def test_the_command_writes_its_table_and_asks_once(data, tiny_llama, tmp_path, asked, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 8)
    # Random weights give labels hardly any probability.
    monkeypatch.setattr("llm_oracle.language_model.local.check_answer", lambda *answer: None)
    settings = Settings(data, str(tiny_llama), questions=24, k=4, folds=4, seed=1)
    cache = tmp_path / "verdicts.sqlite"
    main(settings, cache, tmp_path / "first")
    assert sum(asked) == 2 * 24
    main(settings, cache, tmp_path / "second")
    assert sum(asked) == 2 * 24
    (record_file,) = (tmp_path / "first").glob("*.json")
    record = json.loads(record_file.read_text())
    dataset = load_data(data)
    assert record["data"] == {"name": dataset.name, "hash": dataset.hash, "replica": True}
    assert record["versions"]["torch"]
    assert str(tmp_path) not in record_file.read_text()
    text = record_file.with_suffix(".md").read_text()
    assert f"REPLICA (synthetic data) {dataset.hash}" in text
    assert text == (tmp_path / "second" / record_file.with_suffix(".md").name).read_text()
    table = pd.read_csv(record_file.with_suffix(".csv"))
    assert len(table) == 2 * 3 * 3
    likelihood = table[table["measure"] == "log-likelihood"].set_index(["candidates", "model"])
    gains = table[table["measure"] == "gain"].set_index(["candidates", "model"])
    for way, rows in gains.groupby(level="candidates"):
        last = likelihood.loc[(way, rows.index[-1][1]), "mean"]
        assert -np.log(4) + rows["mean"].sum() == pytest.approx(last)


@pytest.mark.parametrize("judge", ["popularity", "tfidf"])
def test_a_judge_that_is_in_the_table_anyway_is_refused(judge, tmp_path):
    with pytest.raises(DataError, match="in the table anyway: name a language model"):
        main(Settings("replica/coat", judge), tmp_path / "cache.sqlite", tmp_path / "output")
    assert not (tmp_path / "output").exists()
