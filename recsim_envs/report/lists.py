"""Recommendations that are the same for everyone, chosen on training users.

Nothing in them is personal: a simulator in which they come near the oracle does not measure
recommendation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from recsim_envs.arrays import BoolArray, FloatArray, IntArray
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.play import Act, play
from recsim_envs.users.shoppers import ShopperSimulator

TRAINING_USERS = 256
"""Whom to choose on: enough, and they fit into memory with the catalogue scored for each."""
ONE_OF = 32
"""Single items that are tried, those of best first reward."""
PAIR_OF = 8
"""Items whose pairs are tried, the same way."""
LIST_OF = 4
"""Items that a list is tried with in first place, the same way."""


def fixed(env: RecommenderVectorEnv, items: IntArray) -> Act:
    """Shows every user the same items in the same order, and begins again after the last."""
    simulator = env.simulator
    return lambda _: items[simulator.steps % len(items)]


def fixed_lists(training: RecommenderVectorEnv, seed: int) -> dict[str, IntArray]:
    """Chooses one item, two that alternate, and a list as long as a session.

    One item and two: the highest mean Return among the ``ONE_OF`` items, and all pairs of the
    ``PAIR_OF`` items, of highest mean expected reward in the first step. The list: the highest mean
    Return among those that begin with one of the ``LIST_OF`` such items and go on as
    :func:`greedy_list` does.

    Args:
        training: users of the training split.
        seed: of these users.
    """
    training.reset(seed=seed)
    first = training.simulator.outlook()[0].mean(axis=0)  # (n_items,)
    best_first = np.argsort(-first, kind="stable")
    singles = best_first[:ONE_OF][:, None]
    pairs = np.array(list(combinations(best_first[:PAIR_OF], 2))).reshape(-1, 2)
    longest = [greedy_list(training, int(item), seed) for item in best_first[:LIST_OF]]
    return {
        "one item for ever": best_of(training, singles, seed),
        "two alternating": best_of(training, pairs, seed),
        "best fixed list": best_of(training, longest, seed),
    }


def best_of(
    training: RecommenderVectorEnv, lists: Sequence[IntArray] | IntArray, seed: int
) -> IntArray:
    """The one of the lists with the highest mean Return over the training users."""
    returns = [play(training, fixed(training, items), seed).reward.mean() for items in lists]
    best: IntArray = lists[int(np.argmax(returns))]
    return best


def greedy_list(training: RecommenderVectorEnv, first: int, seed: int) -> IntArray:
    """Builds a list greedily: each next place takes the item that adds most to the mean Return.

    Those who are still there count. An item that makes some of them leave costs, for each step that
    they lose, the mean reward of the best item. Sessions of LFM and Industry take no item twice.

    Args:
        training: users of the training split.
        first: the first item.
        seed: of these users.

    Returns:
        (max_steps,) items; (fewer,) where all users have left before.
    """
    simulator = training.simulator
    once = not isinstance(simulator, ShopperSimulator)
    training.reset(seed=seed)
    playing = np.ones(training.num_envs, dtype=bool)
    chosen = [first]
    while True:
        _, _, terminated, truncated, _ = training.step(np.full(training.num_envs, chosen[-1]))
        playing &= ~(terminated | truncated)
        if not playing.any():
            return np.array(chosen)
        reward, leaves = simulator.outlook()
        value = _mean_value(reward[playing], leaves[playing], simulator.max_steps - len(chosen) - 1)
        if once:
            value[chosen] = -np.inf
        chosen.append(int(value.argmax()))


def _mean_value(reward: FloatArray, leaves: BoolArray, steps_left: int) -> FloatArray:
    """What each item is worth to the users (n, n_items) together: (n_items,)."""
    mean = reward.mean(axis=0)
    value: FloatArray = mean - leaves.mean(axis=0) * steps_left * mean.max()
    return value
