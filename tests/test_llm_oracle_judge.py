"""The cheap judges, and the measure that compares judges."""

import numpy as np
import pytest

from llm_oracle import NONE, PopularityJudge, TfidfJudge, next_item_accuracy
from llm_oracle.study.evaluate import next_item_questions
from recsim_envs.data.dataset import Dataset
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame

TEXTS = ["red steel bolt", "blue steel bolt", "green tea", "black tea", "jazz record", "rock song"]
PAD = len(TEXTS)


def make_dataset(**kwargs) -> Dataset:
    return from_frame(
        "toy",
        kwargs.pop("interactions", {"sequence_id": [0, 0, 0, 1, 1], "item_id": [0, 1, 0, 2, 1]}),
        {"item_id": range(len(TEXTS)), "title": TEXTS},
        text="title",
        **{"reading": Reading(min_length=1, rows_in_order=True)} | kwargs,
    )


def test_popularity_judge_takes_the_most_popular():
    one_sequence = {"sequence_id": [0] * 5, "item_id": [0, 1, 0, 2, 1]}  # none is held out
    judge = PopularityJudge(make_dataset(interactions=one_sequence))  # counts 2, 2, 1, 0, 0, 0
    slates = np.array([[2, 0, 3], [3, 4, 5], [5, 2, 4], [1, 0, 2]])
    picks = judge.choose(np.full((4, 2), PAD), slates)
    assert picks.tolist() == [1, NONE, 1, 0]
    assert picks.dtype == np.int64


def test_popularity_judge_uses_the_counts_it_is_given():
    judge = PopularityJudge(make_dataset(), counts=[0, 0, 0, 0, 0, 7])
    assert judge.choose(np.full((1, 1), PAD), np.array([[0, 5]])).tolist() == [1]
    with pytest.raises(ValueError, match=r"counts has shape \(2,\)"):
        PopularityJudge(make_dataset(), counts=[1, 2])


def test_tfidf_judge_takes_the_most_similar_text():
    judge = TfidfJudge(make_dataset())
    histories = np.array([[PAD, 0], [PAD, 2], [4, 4], [PAD, PAD]])
    slates = np.array([[2, 1, 4], [0, 3, 5], [0, 1, 2], [0, 1, 2]])
    assert judge.choose(histories, slates).tolist() == [1, 1, NONE, NONE]


def test_tfidf_judge_reads_the_user_where_there_is_no_history():
    users = {"user_id": [0, 1], "about": ["drinks tea", "likes rock"]}
    interactions = {"user_id": [0, 1], "item_id": [2, 5]}
    dataset = make_dataset(users=users, user_text="about", interactions=interactions)
    slates = np.array([[0, 3, 5], [0, 3, 5]])
    picks = TfidfJudge(dataset).choose(np.full((2, 3), PAD), slates, users=np.array([0, 1]))
    assert picks.tolist() == [1, 2]


def test_verdicts_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    dataset = make_dataset()
    histories, slates = rng.integers(0, PAD + 1, (40, 3)), rng.integers(0, PAD, (40, 4))
    for judge in (PopularityJudge(dataset), TfidfJudge(dataset)):
        alone = [judge.choose(histories[i : i + 1], slates[i : i + 1])[0] for i in range(40)]
        assert judge.choose(histories, slates).tolist() == alone


@pytest.mark.parametrize(
    ("histories", "slates", "message"),
    [
        ([[0]], [[0, 1], [1, 2]], "do not match"),
        ([[0]], [[0, PAD]], "slates holds ids 0..6"),
        ([[PAD + 1]], [[0, 1]], "histories holds ids 7..7"),
    ],
)
def test_requests_that_no_judge_can_answer_are_refused(histories, slates, message):
    for judge in (PopularityJudge(make_dataset()), TfidfJudge(make_dataset())):
        with pytest.raises(ValueError, match=message):
            judge.choose(np.array(histories), np.array(slates))


def chains(n_sequences: int = 60, n_items: int = 50) -> Dataset:
    """Item i is always followed by item i + 1."""
    start = np.random.default_rng(1).integers(0, n_items - 8, n_sequences)
    return from_frame(
        "chains",
        {
            "sequence_id": np.arange(n_sequences).repeat(8),
            "item_id": (start[:, None] + np.arange(8)).ravel(),
        },
        {"item_id": range(n_items), "text": [f"number {i}" for i in range(n_items)]},
        text="text",
        reading=Reading(rows_in_order=True),
    )


class ChainJudge:
    """Knows the truth of `chains`."""

    name = "chain"

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def choose(self, histories, slates, users=None):
        right = slates == histories[:, -1:] + 1
        return np.where(right.any(axis=1), right.argmax(axis=1), NONE)


class FirstJudge(ChainJudge):
    """Reads nothing."""

    name = "first"

    def choose(self, histories, slates, users=None):
        return np.zeros(len(slates), dtype=np.int64)


def test_accuracy_of_a_judge_that_knows_and_of_one_that_guesses():
    dataset = chains()
    knows = next_item_accuracy(ChainJudge(50), dataset, n=200)
    assert knows.accuracy == 1.0
    assert knows.none_rate == 0.0
    assert knows.none_rate_without == 1.0
    guesses = next_item_accuracy(FirstJudge(50), dataset, n=2000)
    assert guesses.accuracy == pytest.approx(0.1, abs=0.025)  # 3.7 standard errors
    assert guesses.none_rate_without == 0.0


def test_questions_come_from_the_held_out_sequences_and_are_seeded():
    dataset = chains()
    held_out = {tuple(dataset.sequences[s]) for s in dataset.held_out}
    questions = next_item_questions(dataset, n=100, seed=3)
    for history, slate, answer in zip(
        questions.histories, questions.slates, questions.answers, strict=True
    ):
        past, true = tuple(history[history < 50]), slate[answer]
        assert any(s[: len(past) + 1] == (*past, true) for s in held_out)
        assert len(set(slate)) == 10
    again = next_item_questions(dataset, n=100, seed=3)
    assert np.array_equal(questions.slates, again.slates)
    assert not np.array_equal(questions.slates, next_item_questions(dataset, n=100, seed=4).slates)


def test_only_liked_items_count_as_choices_where_there_are_ratings():
    interactions = {
        "user_id": [0] * 4 + [1] * 4,
        "item_id": [0, 1, 2, 3] * 2,
        "rating": [5, 1, 4, 2, 1, 1, 4, 5],
    }
    users = {"user_id": [0, 1], "about": ["a", "b"]}
    dataset = make_dataset(
        interactions=interactions,
        users=users,
        user_text="about",
        reading=Reading(all_ratings=True),
    )
    questions = next_item_questions(dataset, n=20, k=3, sequences=np.array([0, 1]))
    for user, history, slate, answer in zip(
        questions.users, questions.histories, questions.slates, questions.answers, strict=True
    ):
        liked = [[0, 2], [2, 3]][user]
        assert history[history < PAD].tolist() == liked[:1]
        assert slate[answer] == liked[1]
        assert set(slate) & set(liked) == {liked[1]}
    with pytest.raises(ValueError, match="k=5"):
        next_item_questions(dataset, n=1, k=5, sequences=np.array([0]))
