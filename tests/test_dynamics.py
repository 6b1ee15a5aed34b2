"""The users' rules, against known answers."""

import numpy as np
import pytest
import torch

from recsim_envs.data.dataset import Dataset
from recsim_envs.data.tables import from_frame
from recsim_envs.report.lists import ONE_OF, best_of, fixed
from recsim_envs.report.play import make_users, play
from recsim_envs.report.policies import best_apart, oracle_policy, random_policy
from recsim_envs.rewards.reward_model import SequenceRewardModel
from recsim_envs.rewards.sequence import SequenceReward
from recsim_envs.users.sessions import SessionSimulator
from recsim_envs.users.shoppers import ShopperSimulator, item_distances


class ConstantReward:
    """A reward model whose probability is the same for every item."""

    history_length = 12

    def __init__(self, n_items: int, probability: float) -> None:
        self.n_items, self.p = n_items, probability

    def probability(self, histories, items):
        return np.full(len(items), self.p)

    def probabilities(self, histories):
        return np.full((len(histories), self.n_items), self.p)


def random_reward(n_items: int) -> SequenceReward:
    """A reward model that nobody fitted."""
    torch.manual_seed(0)
    model = SequenceRewardModel(n_items, embedding_dim=8, similarity_dim=8).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return SequenceReward(weights | {"repeat_bias": np.full(12, -3.0, np.float32)})


def session_length(chains: Dataset, probability: float, **rule) -> tuple[int, float]:
    model = ConstantReward(chains.n_items, probability)
    simulator = SessionSimulator(1, chains, model, chains.train, **rule)
    rng = np.random.default_rng(0)
    simulator.reset(np.ones(1, dtype=bool), rng)
    total = 0.0
    while True:
        reward, terminated, truncated, _ = simulator.step(np.array([1]), rng)
        total += reward[0]
        if terminated[0] or truncated[0]:
            return int(simulator.steps[0]), total


@pytest.mark.parametrize(
    ("probability", "steps"),
    # Patience 10 loses clip(2 - 5p, 0, 2) a step and ends below 1: by hand.
    [(1e-9, 5), (0.08, 6), (0.2, 10), (0.3, 12), (0.4, 12), (0.99, 12)],
)
def test_reconstruction_patience(chains, probability, steps):
    length, total = session_length(chains, probability)
    assert length == steps
    assert total == pytest.approx(5 * probability * steps, rel=1e-5)


def test_hac_patience_of_certain_responses(chains):
    # A click costs (1 - 1) + 1 = 1 of 20; a refusal (1 + 0.1) + 1 = 2.1. Below 1: 20 and 10 steps.
    assert session_length(chains, 1 - 1e-9, user_model="hac", max_steps=50) == (20, 20.0)
    length, total = session_length(chains, 1e-9, user_model="hac", max_steps=50)
    assert (length, round(total, 6)) == (10, -1.0)


def test_kuaisim_patience_of_certain_responses(chains):
    # A click costs 1 of 10, a refusal 2.
    assert session_length(chains, 1 - 1e-9, user_model="kuaisim", max_steps=50) == (10, 10.0)
    assert session_length(chains, 1e-9, user_model="kuaisim", max_steps=50) == (5, 0.0)
    assert session_length(chains, 1e-9, user_model="kuaisim", patience=20.0)[0] == 10


def test_clicks_alone_enter_the_history_of_hac(chains):
    model = ConstantReward(chains.n_items, 0.5)
    simulator = SessionSimulator(400, chains, model, chains.train, user_model="hac")
    rng = np.random.default_rng(0)
    simulator.reset(np.ones(400, dtype=bool), rng)
    reward, *_ = simulator.step(np.full(400, 3), rng)
    clicked = reward == 1.0
    assert 0.4 < clicked.mean() < 0.6
    filled = (simulator.history < chains.n_items).sum(axis=1)
    assert np.array_equal(filled, 1 + clicked)


def test_outlook_foretells_the_step(chains):
    model = random_reward(chains.n_items)
    simulator = SessionSimulator(3, chains, model, chains.train)
    rng = np.random.default_rng(0)
    simulator.reset(np.ones(3, dtype=bool), rng)
    for _ in range(4):
        reward, leaves = simulator.outlook()
        items = rng.integers(chains.n_items, size=3)
        got, terminated, _, _ = simulator.step(items, rng)
        assert reward[np.arange(3), items] == pytest.approx(got, abs=1e-6)
        assert np.array_equal(leaves[np.arange(3), items], terminated)


def shopper(ratings: np.ndarray, n: int, **rule) -> ShopperSimulator:
    dataset = from_frame(
        "shoppers",
        {"user_id": [0], "item_id": [0], "rating": [3], "split": ["train"]},
        {"item_id": range(ratings.shape[1]), "text": ["coat"] * ratings.shape[1]},
        {"user_id": range(len(ratings)), "text": ["user"] * len(ratings)},
        text="text",
        user_text="text",
        scenario="clothes",
    )
    return ShopperSimulator(n, dataset, ratings, item_distances(ratings), **rule)


def leave_by_hand(ratings, items, window, n_recent=7):
    """EasyRL4Rec's rule, written with the slices of its code."""
    for t, item in enumerate(items):
        start = max(0, t - n_recent) if window == "exact" else t - n_recent
        recent = items[:t][start:t]
        distances = [np.linalg.norm(ratings[:, item] - ratings[:, x]) for x in recent]
        if t > 0 and any(d < 6 for d in distances):
            return t + 1
    return len(items)


@pytest.mark.parametrize("window", ["exact", "easyrl4rec"])
def test_shopper_leaves_as_by_hand(window):
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, size=(9, 25)).astype(np.float32)
    simulator = shopper(ratings, n=300, window=window)
    simulator.reset(np.ones(300, dtype=bool), rng)
    items = rng.integers(25, size=(300, 30))
    expected = [leave_by_hand(ratings, row.tolist(), window) for row in items]
    length = np.zeros(300, dtype=int)
    for step in range(30):
        _, terminated, truncated, _ = simulator.step(items[:, step], rng)
        newly = (terminated | truncated) & (length == 0)
        length[newly] = step + 1
    assert length.tolist() == expected
    assert 2 < np.mean(length) < 20


def random_sessions(env, seed=0):
    return play(env, random_policy(env, seed), seed)


@pytest.mark.parametrize(
    ("window", "reward", "length"), [("easyrl4rec", 28.1, 12.5), ("exact", 26.0, 11.7)]
)
def test_known_answers_of_coat(real_ratings, window, reward, length):
    env = make_coat(real_ratings, 20_000, window=window)
    sessions = random_sessions(env)
    assert sessions.reward.mean() == pytest.approx(reward, rel=0.02)
    assert sessions.length.mean() == pytest.approx(length, rel=0.02)


def test_known_answers_of_coat_policies(real_ratings):
    env = make_coat(real_ratings, 2000)
    cycle = play(env, fixed(env, np.array(best_apart(env.simulator))), seed=0)
    assert (cycle.length == 30).all()
    assert cycle.reward.mean() == pytest.approx(87.5, rel=0.01)
    assert play(env, oracle_policy(env), seed=0).reward.mean() == pytest.approx(93.7, rel=0.01)

    def myopic(_):
        return env.simulator.outlook()[0].argmax(axis=1)

    assert (play(env, myopic, seed=0).length == 2).all()


def make_coat(ratings, n, **rule):
    from recsim_envs.envs import RecommenderVectorEnv

    return RecommenderVectorEnv(shopper(ratings, n, **rule))


@pytest.mark.parametrize("env_id", ["recsim/LFM-v0", "recsim/Industry-v0"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_random_and_greedy_policies_of_the_replicas(env_id, split):
    env = make_users(env_id, 2000, split=split)
    sessions = random_sessions(env)
    assert 0.2 < sessions.average_reward < 0.6  # the real sets': 0.23 to 0.33
    assert 4.5 < sessions.length.mean() < 6.5
    few = make_users(env_id, 50, split=split)
    greedy = play(few, oracle_policy(few), seed=0)
    assert (greedy.length == few.simulator.max_steps).all()
    assert (greedy.distinct == 1).all()


@pytest.mark.parametrize("history", ["shown", "accepted"])
@pytest.mark.parametrize("env_id", ["recsim/LFM-v0", "recsim/Industry-v0"])
def test_one_item_for_ever_earns_less_than_a_tenth_of_the_oracle(env_id, history):
    training = make_users(env_id, 100, split="train", history=history)
    training.reset(seed=1)
    first = training.simulator.outlook()[0].mean(axis=0)
    singles = np.argsort(-first, kind="stable")[:ONE_OF, None]
    users = make_users(env_id, 200, split="test", history=history)
    one = play(users, fixed(users, best_of(training, singles, seed=1)), seed=0)
    oracle = play(users, oracle_policy(users), seed=0)
    assert one.reward.mean() < 0.1 * oracle.reward.mean()


def test_accepted_items_alone_enter_the_history_and_offers_are_told(chains):
    simulator = SessionSimulator(
        400, chains, ConstantReward(chains.n_items, 0.5), chains.train, history="accepted"
    )
    rng = np.random.default_rng(0)
    simulator.reset(np.ones(400, dtype=bool), rng, {"start_item": np.zeros(400, dtype=int)})
    for item in (3, 7):
        reward, _, _, terms = simulator.step(np.full(400, item), rng)
        assert reward == pytest.approx(np.full(400, 2.5))  # the expectation, accepted or not
        observation = simulator.observe()
        newest = observation["history"][:, -1]
        assert np.array_equal(newest == item, terms["accepted"])
        assert 0.4 < terms["accepted"].mean() < 0.6
    assert (observation["shown"][:, -2:] == [3, 7]).all()
    assert (observation["shown"][:, :-2] == chains.n_items).all()
    refused = (observation["history"] < chains.n_items).sum(axis=1) == 1
    assert (observation["history"][refused, -1] == 0).all()
