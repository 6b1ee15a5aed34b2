"""The reference policies, without which no learning agent should be shown.

- *random*: uniformly random items.
- *popularity*: the item that the training data holds most often (Coat: that was most often rated 4
  or 5 among the self-selected ratings).
- *one item for ever*, *two alternating*, *best fixed list*: chosen on training users, see
  :mod:`recsim_envs.report.lists`; nothing in them is personal.
- *item-kNN*, *nearest text*: recommenders without training, see
  :mod:`recsim_envs.rewards.baselines`.
- *static cycle* (Coat): the items of best true mean rating that keep their distance, in a circle;
  nothing in it is personal.
- *myopic oracle*: reads the simulator, and takes the item of highest expected reward that does not
  make the user leave.

In sessions (LFM, Industry) those that rank items leave out what the session has shown and what the
visible history holds. Coat's users punish repeats themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.data.dataset import Dataset
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.lists import fixed
from recsim_envs.report.play import Act
from recsim_envs.rewards.baselines import baseline_scorers, popularity_scores
from recsim_envs.rewards.evaluate import Scorer
from recsim_envs.rewards.ready import LIKED
from recsim_envs.users.shoppers import ShopperSimulator
from recsim_envs.users.simulator import Simulator, which_held

ORACLE = "myopic oracle"
IMPERSONAL = (
    "random",
    "popularity",
    "one item for ever",
    "two alternating",
    "best fixed list",
    "static cycle",
)
"""Policies that know nothing of the user."""
LEAVING = 1e6
"""More than any reward: an oracle avoids a departure wherever it can."""


def reference_policies(
    env: RecommenderVectorEnv,
    seed: int,
    *,
    lists: Mapping[str, IntArray],
    scorers: Mapping[str, Scorer],
) -> dict[str, Act]:
    """Returns the reference policies by name, the oracle last.

    Args:
        env: the users that will be played with; the oracle looks into its simulator.
        seed: of the random policy.
        lists: of :func:`recsim_envs.report.lists.fixed_lists`, on training users of the same rule.
        scorers: of :func:`reference_scorers`, and others that rank the catalogue.
    """
    policies: dict[str, Act] = {"random": random_policy(env, seed)}
    policies["popularity"] = ranking_policy(env, scorers["popularity"])
    policies |= {name: fixed(env, items) for name, items in lists.items()}
    if isinstance(env.simulator, ShopperSimulator):
        policies["static cycle"] = fixed(env, np.array(best_apart(env.simulator)))
    for name, scorer in scorers.items():
        policies.setdefault(name, ranking_policy(env, scorer))
    return {**policies, ORACLE: oracle_policy(env)}


def reference_scorers(dataset: Dataset) -> dict[str, Scorer]:
    """What ranks the catalogue without training: popularity, and what reads the history."""
    if "rating" not in dataset.interactions.columns:
        return baseline_scorers(dataset)
    counts = popularity_counts(dataset)
    return {"popularity": lambda histories: popularity_scores(histories, counts)}


def popularity_counts(dataset: Dataset) -> IntArray:
    """How often the training data holds each item, or where users rate, holds it as liked."""
    if "rating" not in dataset.interactions.columns:
        return dataset.popularity
    rated = dataset.interactions
    liked = rated[(rated["rating"] >= LIKED) & (rated["split"] == "train")]
    return np.bincount(liked["item"].to_numpy(), minlength=dataset.n_items)


def random_policy(env: RecommenderVectorEnv, seed: int) -> Act:
    """Uniformly random items, repeats included."""
    rng = np.random.default_rng(seed)

    def act(_: object) -> IntArray:
        items: IntArray = rng.integers(env.dataset.n_items, size=env.num_envs)
        return items

    return act


def ranking_policy(env: RecommenderVectorEnv, scorer: Scorer) -> Act:
    """The item of the highest score that is neither shown nor in the visible history.

    Items that tie go by how often the training data holds them.
    """
    simulator = env.simulator
    popularity = env.dataset.popularity / (1 + env.dataset.popularity.max())  # (n_items,), below 1

    def act(_: object) -> IntArray:
        scores = scorer(simulator.history.astype(np.int64))
        hidden = simulator.already_shown() | which_held(
            simulator.history, simulator.dataset.n_items
        )
        return best_allowed(scores, hidden, popularity)

    return act


def best_allowed(scores: FloatArray, hidden: BoolArray, tie_break: FloatArray) -> IntArray:
    """The best item of each row that is not hidden; of those that tie, the one of best tie break.

    Args:
        scores: (B, n_items).
        hidden: (B, n_items) booleans.
        tie_break: (n_items,).
    """
    allowed = np.where(hidden, -np.inf, scores)
    best = allowed == allowed.max(axis=1, keepdims=True)
    items: IntArray = np.where(best, tie_break, -np.inf).argmax(axis=1)
    return items


def oracle_policy(env: RecommenderVectorEnv) -> Act:
    """The item of highest expected reward now that does not make the user leave."""
    return lambda _: oracle_values(env.simulator).argmax(axis=1)


def oracle_values(simulator: Simulator) -> FloatArray:
    """What the oracle ranks by: expected reward, less what it avoids, (N, n_items)."""
    reward, leaves = simulator.outlook()
    value = np.where(leaves, reward - LEAVING, reward)
    if isinstance(simulator, ShopperSimulator):
        return value
    return np.where(simulator.already_shown(), -np.inf, value)


def best_apart(simulator: ShopperSimulator) -> list[int]:
    """The n_recent + 1 items of best mean rating that are all far enough from each other."""
    apart: list[int] = []
    for item in np.argsort(-simulator.ratings.mean(axis=0), kind="stable"):
        if all(simulator.distance[item, other] >= simulator.leave_distance for other in apart):
            apart.append(int(item))
        if len(apart) == simulator.n_recent + 1:
            break
    return apart
