"""Section "head room": how much of the oracle's Return is personal, and how much needs planning."""

from __future__ import annotations

import numpy as np

from recsim_envs.arrays import FloatArray, IntArray
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report.figures import Cell, Figure, Section, mean_of
from recsim_envs.report.play import USERS_AT_ONCE, Act, Sessions, joined, play, rounds_of
from recsim_envs.report.policies import ORACLE, oracle_policy, oracle_values
from recsim_envs.report.subject import Subject
from recsim_envs.report.wins import Played, users_of
from recsim_envs.users.simulator import Simulator

WIDTH = 8
"""Plans that the look-ahead follows at once."""
PLANNED_USERS = 96
BEST_LIST = "best fixed list"


def head_room_section(subject: Subject, played: dict[str, Played], seed: int) -> Section:
    """Measures both head rooms.

    Args:
        subject: the simulators.
        played: the reference policies' sessions under each history.
        seed: of the users.
    """
    rows: list[dict[str, Cell]] = []
    for history, of_policy in played.items():
        oracle, best_list = of_policy[ORACLE], of_policy[BEST_LIST]
        n, rounds = rounds_of(len(oracle.reward))
        shuffled = play_others_lists(subject, n, history, seed, rounds)
        gaps = {
            "personal: oracle less best fixed list": mean_of(oracle.reward - best_list.reward),
            "the same, the oracle's lists shuffled among users": mean_of(
                shuffled.reward - best_list.reward
            ),
        }
        rows += [_row(history, name, gap, oracle) for name, gap in gaps.items()]
    # Under "accepted" what the user will answer is random, and no plan survives it.
    planning = look_ahead_gain(subject, seed)
    name = f"planning: best of {WIDTH} plans less the myopic oracle"
    rows.append(_row("shown", name, mean_of(planning), played["shown"][ORACLE]))
    question = "What is there to gain by knowing the user, and by thinking ahead?"
    return Section("head room", question, rows)


def _row(history: str, name: str, gap: Figure, oracle: Sessions) -> dict[str, Cell]:
    share = gap.value / float(oracle.reward.mean())
    return {"history": history, "head room": name, "Return": gap, "share of the oracle": share}


def play_others_lists(subject: Subject, n: int, history: str, seed: int, rounds: int) -> Sessions:
    """Shows each user what the oracle chose for another one of the same round.

    What is good for everyone is kept (popular items, lists coherent in themselves); what was meant
    for the user is lost.

    Args:
        subject: the simulators.
        n: users a round.
        history: which items enter the users' histories.
        seed: of the first round's users.
        rounds: how often n users come.
    """
    parts = []
    for number in range(rounds):
        env = users_of(subject, n, history)
        lists = oracle_lists(env, seed + number)
        # One place further: nobody keeps the own list.
        parts.append(play(env, personal(env, np.roll(lists, 1, axis=0)), seed + number))
    return joined(parts)


def personal(env: RecommenderVectorEnv, lists: IntArray) -> Act:
    """Shows user i the items of row i of (N, max_steps) lists."""
    rows, simulator = np.arange(env.num_envs), env.simulator
    return lambda _: lists[rows, simulator.steps]


def oracle_lists(env: RecommenderVectorEnv, seed: int) -> IntArray:
    """What the myopic oracle shows to each user up to the length cap, (N, max_steps).

    Users who would leave are kept, so that each list is whole.
    """
    simulator, act = env.simulator, oracle_policy(env)
    lists = np.zeros((env.num_envs, simulator.max_steps), dtype=np.int64)
    observations, _ = env.reset(seed=seed)
    leaves, simulator.leaves = simulator.leaves, False
    for step in range(simulator.max_steps):
        lists[:, step] = act(observations)
        observations, *_ = env.step(lists[:, step])
    simulator.leaves = leaves
    return lists


def look_ahead_gain(subject: Subject, seed: int, users: int = PLANNED_USERS) -> FloatArray:
    """What planning adds to each user's Return, (users,).

    A beam search over the whole session keeps the ``WIDTH`` plans of highest Return so far; with
    one plan it is the myopic oracle. It finds a lower bound of what the best plan would gain.
    """
    at_once = USERS_AT_ONCE // WIDTH
    gains = []
    for first in range(0, users, at_once):
        n = min(at_once, users - first)
        narrow = users_of(subject, n, "shown").simulator
        narrow.reset(np.ones(n, dtype=bool), np.random.default_rng(seed + first))
        wide = users_of(subject, n * WIDTH, "shown").simulator
        for name, values in wide.arrays().items():
            values[:] = np.repeat(narrow.arrays()[name], WIDTH, axis=0)
        # The myopic plan is one of those to choose from.
        gains.append(np.maximum(beam_search(wide, WIDTH) - beam_search(narrow, 1), 0.0))
    return np.concatenate(gains)


def beam_search(simulator: Simulator, width: int) -> FloatArray:
    """Finds plans of high Return where rewards are not random.

    Args:
        simulator: N * width rows, the ``width`` rows of each user alike.
        width: plans that are followed at once.

    Returns:
        (N,) the Return of each user's best plan.
    """
    n, rng = simulator.n // width, np.random.default_rng(0)
    branches = min(width, simulator.dataset.n_items)
    total = np.zeros((n, width))  # of each plan so far
    total[:, 1:] = -np.inf  # one row each is enough to begin with
    playing = np.ones((n, width), dtype=bool)
    for _ in range(simulator.max_steps):
        value = oracle_values(simulator)  # (N * width, n_items)
        items = np.argpartition(-value, branches - 1, axis=1)[:, :branches]
        gain = np.take_along_axis(value, items, axis=1).reshape(n, width, branches)
        ended = np.where(np.arange(branches) == 0, 0.0, -np.inf)  # goes on as one plan
        gain = np.where(playing[:, :, None], gain, ended)
        rank = (total[:, :, None] + gain).reshape(n, -1)
        kept = np.argsort(-rank, axis=1, kind="stable")[:, :width]  # (N, width)
        plan = kept // branches
        rows = (np.arange(n)[:, None] * width + plan).ravel()
        chosen = np.take_along_axis(items.reshape(n, -1), kept, axis=1).ravel()
        for values in simulator.arrays().values():
            values[:] = values[rows]
        reward, terminated, truncated, _ = simulator.step(chosen, rng)
        playing = np.take_along_axis(playing, plan, axis=1)
        total = np.take_along_axis(total, plan, axis=1)
        total += np.where(playing, reward.reshape(n, width), 0.0)
        playing &= ~(terminated | truncated).reshape(n, width)
    best: FloatArray = total.max(axis=1)
    return best
