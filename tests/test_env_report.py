"""The report on a simulator, against answers known beforehand."""

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from scipy.spatial.distance import jensenshannon
from scipy.special import logit
from scipy.stats import ks_2samp

from recsim_envs.cli import env_report_command
from recsim_envs.data.tables import from_frame
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.report import head_room, likeness
from recsim_envs.report.agreement import kendall, resampled_tau, second_section
from recsim_envs.report.figures import Figure, mean_of, ratio_of, resampled
from recsim_envs.report.known_order import ORDER, offers_of, probabilities, session_rewards
from recsim_envs.report.lists import fixed, fixed_lists
from recsim_envs.report.play import Sessions, make_users, play, rounds_of
from recsim_envs.report.plot import plot_report
from recsim_envs.report.policies import (
    ORACLE,
    oracle_policy,
    random_policy,
    ranking_policy,
    reference_policies,
    reference_scorers,
)
from recsim_envs.report.report import make_report, report_on
from recsim_envs.report.response import answers_of_all, held_out_questions, response_section
from recsim_envs.report.subject import SessionSubject, load_subject
from recsim_envs.report.tables import print_report, printed
from recsim_envs.report.untrained import random_section
from recsim_envs.report.wins import play_references, wins_section
from recsim_envs.rewards.sequence import SequenceReward
from recsim_envs.users.sessions import SessionSimulator


class TableReward(SequenceReward):
    """A reward model whose answer depends on the newest item alone: (n_items, n_items) table."""

    def __init__(self, table: np.ndarray, again: float = 0.01) -> None:
        self.n_items, self.history_length = len(table), 12
        # The width that a fit without text takes.
        self.item = np.zeros((len(table) + 1, 8), dtype=np.float32)
        self.table, self.again = table, again

    def probabilities(self, histories):
        chance = self.table[histories[:, -1]].copy()
        rows, places = np.nonzero(histories < self.n_items)
        chance[rows, histories[rows, places]] = self.again
        return chance

    def probability(self, histories, items):
        return self.probabilities(histories)[np.arange(len(items)), items]

    def scores_of(self, histories, items):
        table = np.pad(self.table, ((0, 1), (0, 1)), constant_values=0.5)
        return logit(np.take_along_axis(table[histories[:, -1]], items, axis=1))

    @property
    def repeat_bias(self):
        return np.zeros(12)


@pytest.fixture(scope="module")
def subject(chains) -> SessionSubject:
    """The rings of `chains`, and users who want the ring's next item and nothing else."""
    table = np.full((20, 20), 0.05)
    table[np.arange(20), [5 * (i // 5) + (i + 1) % 5 for i in range(20)]] = 0.9
    reward = TableReward(table)
    return SessionSubject(
        chains, {"train": reward, "test": reward, "test_disjoint": reward}, {"train": "memory"}
    )


def of_table(table: list[list[float]], **rule) -> SessionSubject:
    """Users of few items, who may start with each of them."""
    n = len(table)
    rows = [(s, (s + i) % n, i) for s in range(30) for i in range(3)]
    sequence, item, position = zip(*rows, strict=True)
    dataset = from_frame(
        "few",
        {"sequence_id": sequence, "item_id": item, "position": position},
        {"item_id": range(n), "title": [f"thing {i}" for i in range(n)]},
        text="title",
        replica=True,
    )
    reward = TableReward(np.array(table), **rule)
    return SessionSubject(
        dataset, {"train": reward, "test": reward, "test_disjoint": reward}, {"train": "memory"}
    )


def test_the_oracle_of_the_rings_takes_the_next_item(subject):
    env = subject.users(50)
    lists = head_room.oracle_lists(env, seed=0)
    observations, _ = env.reset(seed=0)
    start = observations[:, -1]
    for step in range(4):  # until the ring is round
        assert np.array_equal(lists[:, step], 5 * (start // 5) + (start + step + 1) % 5)
    assert env.simulator.leaves
    # Each ring gives 4 rewards of 5 x 0.9; the step to the next one costs 1.75 of the patience.
    sessions = play(env, oracle_policy(env), seed=0)
    assert sessions.reward == pytest.approx(np.full(50, 10 * 4.5 + 2 * 0.25))
    assert (sessions.length == 12).all()


def test_shuffled_lists_lose_what_is_personal(subject):
    env = subject.users(200)
    own = play(env, oracle_policy(env), seed=0)
    shuffled = head_room.play_others_lists(subject, 200, "shown", seed=0, rounds=1)
    # A quarter starts in the same ring; the others meet one item at 0.05 and then a ring.
    assert 1.0 < (own.reward - shuffled.reward).mean()


@pytest.mark.parametrize("history", ["shown", "accepted"])
def test_users_are_those_of_gymnasium(history):
    made = make_users("recsim/Industry-v0", 8, split="test", history=history)
    subject = load_subject("replica/industry")
    users = subject.users(8, history=history)
    users.simulator.fast = made.simulator.fast  # to the bit: both compiled, or neither
    own, same = (play(env, random_policy(env, 0), seed=1) for env in (made, users))
    assert np.array_equal(own.reward, same.reward)
    assert np.array_equal(own.length, same.length)


def test_rounds_meet_the_same_users_whatever_the_policy(subject):
    assert rounds_of(500) == (250, 2)
    assert rounds_of(256) == (256, 1)
    seen = []
    for seed in (0, 1):
        env, starts = subject.users(10, history="accepted"), []
        act = random_policy(env, seed)

        def watch(observations, env=env, starts=starts, act=act):
            if not env.simulator.steps.any():
                starts.append(observations["history"][:, -1].tolist())
            return act(observations)

        assert len(play(env, watch, seed=3, rounds=2).reward) == 20
        seen.append(starts[:1] + starts[-1:])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("history", ["shown", "accepted"])
def test_ranking_policies_offer_nothing_twice(subject, history):
    env = subject.users(30, history=history)
    for scorer in reference_scorers(subject.dataset).values():
        act = ranking_policy(env, scorer)
        observations, _ = env.reset(seed=0)
        start, offered = env.simulator.history[:, -1].copy(), []
        for _ in range(4):
            offered.append(act(observations))
            observations, _, terminated, _, _ = env.step(offered[-1])
            assert not terminated.any()
        for row in np.column_stack([start, *offered]):
            assert len(set(row)) == 5


def test_popularity_goes_by_the_training_counts(subject):
    env = subject.users(5)
    act = ranking_policy(env, reference_scorers(subject.dataset)["popularity"])
    observations, _ = env.reset(seed=0, options={"start_item": 0})
    counts = subject.dataset.popularity.copy()
    counts[0] = -1
    assert (act(observations) == counts.argmax()).all()


def test_the_best_fixed_list_is_the_best_of_three_items():
    # All begin with any item; 2 leads to 1, 1 to 0. The greedy first item is not that of the best.
    subject = of_table([[0.1, 0.2, 0.9], [0.9, 0.1, 0.3], [0.1, 0.9, 0.1]], again=0.1)
    training = replace_steps(subject, 3)
    chosen = fixed_lists(training, seed=0)["best fixed list"]
    assert sorted(chosen) == [0, 1, 2]
    orders = [(a, b, c) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) > 2]
    returns = {o: play(training, fixed(training, np.array(o)), 0).reward.mean() for o in orders}
    assert returns[tuple(chosen)] == max(returns.values())


def replace_steps(subject: SessionSubject, max_steps: int) -> RecommenderVectorEnv:
    """Training users whose sessions are that long."""
    simulator = SessionSimulator(
        300, subject.dataset, subject.rewards["train"], subject.dataset.train, max_steps=max_steps
    )
    return RecommenderVectorEnv(simulator)


def test_one_item_and_two_are_the_best_of_their_kind():
    # Whoever has just had 0 wants 1, and the other way round, again and again.
    subject = of_table([[0.1, 0.9, 0.1], [0.9, 0.1, 0.1], [0.5, 0.4, 0.1]], again=0.9)
    subject.rewards["train"].probabilities = lambda h: subject.rewards["train"].table[h[:, -1]]
    lists = fixed_lists(subject.users(200, split="train"), seed=0)
    assert sorted(lists["two alternating"]) == [0, 1]
    assert len(lists["one item for ever"]) == 1


def test_a_fixed_list_that_wins_triggers_the_warning(subject):
    everyone_alike = of_table([[0.9, 0.6, 0.5]] * 3)
    scorers = reference_scorers(everyone_alike.dataset)
    (played,) = play_references(everyone_alike, scorers, "shown", 100, seed=0)
    section = wins_section({"shown": played})
    assert any("best fixed list" in warning for warning in section.warnings)
    assert {row["policy"] for row in section.rows} >= {"random", "popularity", "item-kNN", ORACLE}
    # In the rings a list serves one start of twenty.
    (played,) = play_references(subject, reference_scorers(subject.dataset), "accepted", 100, 0)
    quiet = wins_section({"accepted": played})
    assert not quiet.warnings
    oracle = quiet.rows[-1]
    assert oracle["policy"] == ORACLE
    assert oracle["share of the oracle"] == Figure(1.0, 1.0, 1.0)


def test_planning_finds_what_the_myopic_oracle_misses():
    # 1 pays more now, but only 2 leads on to 3.
    table = np.full((4, 4), 0.05)
    table[0, 1], table[0, 2], table[2, 3], table[1] = 0.5, 0.4, 0.9, 0.01
    subject = of_table(table.tolist(), again=0.001)
    simulator = subject.users(3).simulator
    simulator.max_steps = 2
    for width, expected in ((1, 5 * 0.5 + 5 * 0.01), (3, 5 * 0.4 + 5 * 0.9)):
        simulator.reset(
            np.ones(3, bool), np.random.default_rng(0), {"start_item": np.zeros(3, int)}
        )
        found = head_room.beam_search(simulator, width)
        assert found == pytest.approx(np.full(3 // width, expected))


def test_look_ahead_with_one_plan_is_the_oracle(subject):
    env = subject.users(20)
    own = play(env, oracle_policy(env), seed=4)
    env.simulator.reset(np.ones(20, bool), np.random.default_rng(0))
    env.reset(seed=4)
    assert head_room.beam_search(env.simulator, 1) == pytest.approx(own.reward)
    assert (head_room.look_ahead_gain(subject, seed=0, users=10) >= 0).all()


def test_response_of_a_model_that_knows_everything(subject):
    questions = held_out_questions(subject, seed=0)
    models = {"test model": subject.rewards["test"]}
    scorers = {name: model.probabilities for name, model in models.items()}
    answers = answers_of_all(subject.dataset, questions, scorers)
    (row,) = response_section(questions, answers, models, seed=0).rows
    # The rings of 5 repeat within 7 items: the truth stands in the history, and counts as missed.
    assert row["HR@10"].value == 0.0
    fresh = questions._replace(histories=np.where(np.arange(12) < 11, 20, questions.histories))
    answers = answers_of_all(subject.dataset, fresh, scorers)
    (row,) = response_section(fresh, answers, models, seed=0).rows
    assert row["HR@10"].value == row["NDCG@10"].value == row["AUC"].value == 1.0
    assert 0 <= row["calibration error"].value < 0.2


def test_known_order_of_the_rings(subject):
    numbers, lists, real = offers_of(subject, 40, seed=0)
    assert real.sum(axis=1).tolist() == [7] * 40
    replayed = probabilities(subject, numbers, lists[ORDER[0]], real)
    # Four new items of the ring, then three that the user has had.
    assert replayed == pytest.approx(np.full(40, (4 * 0.9 + 3 * 0.01) / 7))
    shuffled = probabilities(subject, numbers, lists[ORDER[2]], real)
    assert shuffled.mean() < 0.2
    in_sessions = session_rewards(subject, numbers, lists[ORDER[0]], real, seed=0)
    assert in_sessions == pytest.approx(5 * replayed)


def test_ks_distance_is_scipys_and_weights_count():
    rng = np.random.default_rng(0)
    first, second = rng.integers(9, size=60).astype(float), rng.integers(4, 12, size=40) * 1.0
    alike = likeness.ks_distance(first, second, np.ones((1, 60)))
    assert alike[0] == pytest.approx(ks_2samp(first, second).statistic)
    # By hand: half of {1, 2} lies below all of {2, 3}; with the 1 left out, nothing of {2} does.
    one, two = np.array([1.0, 2.0]), np.array([2.0, 3.0])
    assert likeness.ks_distance(one, two, np.array([[1, 1], [0, 1.0]])).tolist() == [0.5, 0.5]


def test_js_likeness_by_hand():
    same, apart = np.array([1.0, 3.0]), np.array([0.0, 1.0])
    assert likeness.js_likeness(same, 2 * same) == pytest.approx(1.0)
    assert likeness.js_likeness(np.array([1.0, 0.0]), apart) == pytest.approx(0.0)
    # p = (1/2, 1/2), q = (0, 1), m = (1/4, 3/4): JSD = (KL(p, m) + KL(q, m)) / 2.
    p_m = 0.5 * np.log2(2) + 0.5 * np.log2(2 / 3)
    expected = 1 - np.sqrt((p_m + np.log2(4 / 3)) / 2)
    assert likeness.js_likeness(np.array([5.0, 5.0]), apart) == pytest.approx(expected)
    assert expected == pytest.approx(1 - jensenshannon([0.5, 0.5], [0, 1], base=2))


def test_transitions_of_groups(chains):
    ring = np.arange(20) // 5
    counts = likeness.transition_counts([np.array([0, 1, 5, 6])], ring)
    n = likeness.N_GROUPS + 1
    assert {int(place): counts[0, place] for place in np.flatnonzero(counts[0])} == {
        0: 1.0,
        1: 1.0,
        n + 1: 1.0,
    }
    logged = likeness.next_items([np.array([0, 1, 0, 2])], 20)
    assert sorted(logged[0]) == [1, 2]
    assert logged[1].tolist() == [0]
    assert 2 not in logged
    assert np.isnan(likeness.js_likeness(counts[0], 0 * counts[0]))
    assert np.isnan(likeness.ks_distance(np.ones(2), np.ones(2), np.zeros((1, 2))))
    assert sorted(logged[-1]) == [0, 1, 2]


def test_kendall_by_hand():
    assert kendall(np.array([1, 2, 3]), np.array([10, 20, 30])) == 1.0
    # Of the pairs of 1, 2, 3, 4 the last alone is turned round: (5 - 1) / 6.
    assert kendall(np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3])) == pytest.approx(4 / 6)
    apart = np.array([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])
    assert resampled_tau(apart, -apart) == Figure(-1.0, -1.0, -1.0)


def test_second_simulator_of_the_same_model_has_no_gap(subject):
    scorers = reference_scorers(subject.dataset)
    first, second = play_references(subject, scorers, "shown", 30, 0, (None, "test_disjoint"))
    section = second_section(first, second)
    assert all(row["gap"].value == 0 for row in section.rows[:-1])
    assert section.rows[-1]["gap"].value == 1.0


def test_figures_by_hand():
    assert ratio_of(np.array([2.0, 4.0]), np.array([1.0, 2.0])) == Figure(2.0, 2.0, 2.0)
    found = mean_of(np.random.default_rng(0).normal(3, 1, size=400))
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.1)
    values = np.random.default_rng(1).normal(3, 1, size=400)
    around = resampled(lambda rows: values[rows].mean(axis=1), 400, biased=True)
    assert around.high - around.value == pytest.approx(1.96 / 20, rel=0.1)
    assert printed(Figure(1.0, 0.5, 1.5), 1) == "1.0 [0.5, 1.5]"
    assert printed(float("nan"), 2) == "-"
    assert printed(None, 2) == ""


def test_random_policy_beside_the_paper():
    def of(reward, length):
        return Sessions(np.full(9, reward), np.full(9, length), np.ones(9))

    assert not random_section(of(1.5, 5), in_paper=True).warnings
    assert len(random_section(of(20.0, 12), in_paper=True).warnings) == 2
    assert not random_section(of(20.0, 12), in_paper=False).warnings


def test_report_on_sessions_end_to_end(subject, tmp_path):
    report = make_report("few", subject, sessions=20, seed=0)
    assert report.title.startswith("few (REPLICA (synthetic))")
    assert not any(section.not_applicable for section in report.sections)
    order = report.section("known order")
    assert [row["offered"] for row in order.rows] == list(ORDER)
    out = StringIO()
    print_report(report, Console(file=out, width=200))
    assert all(section.name in out.getvalue() for section in report.sections)
    plot_report(report, tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="sessions=19"):
        make_report("few", subject, sessions=19, seed=0)


def test_a_seed_decides_everything(subject):
    def found(seed):
        (played,) = play_references(
            subject, reference_scorers(subject.dataset), "accepted", 20, seed
        )
        taken = likeness.accepted(subject, {}, 20, seed)
        gain = head_room.look_ahead_gain(subject, seed, users=4)
        return repr([wins_section({"accepted": played}), taken, gain])

    assert found(0) == found(0)
    assert found(0) != found(1)


def test_command_on_the_coat_replica(tmp_path, capsys):
    env_report_command("replica/coat", sessions=60, output=tmp_path)
    printed_out = capsys.readouterr().out
    for word in ("REPLICA", "static cycle", "RMSE", "personal", "repeats: not applicable"):
        assert word in printed_out
    record = json.loads((tmp_path / "replica-coat.json").read_text())
    about = record["provenance"]
    assert about["replica"] is True
    assert about["data_hash"] == load_subject("replica/coat").dataset.hash
    assert about["reward_hashes"]["ratings"] and about["revision"] and about["versions"]["numpy"]
    wins = record["sections"][0]
    assert wins["name"] == "what wins it"
    shares = {row["policy"]: row["share of the oracle"]["value"] for row in wins["rows"]}
    assert shares["random"] < shares["popularity"] < shares["static cycle"] <= shares[ORACLE] == 1
    assert (tmp_path / "replica-coat.png").stat().st_size > 10_000


def test_a_name_that_is_not_prepared_is_refused(tmp_path):
    with pytest.raises(ValueError, match="replica/coat"):
        report_on("replica/boats")
    with pytest.raises(ValueError, match="sessions"):
        env_report_command("replica/coat", sessions=0, output=tmp_path)


def test_reference_policies_are_those_that_the_benchmarks_show(subject):
    env = subject.users(10)
    lists = fixed_lists(subject.users(20, split="train"), seed=0)
    policies = reference_policies(env, 0, lists=lists, scorers=reference_scorers(subject.dataset))
    assert list(policies) == [
        "random",
        "popularity",
        "one item for ever",
        "two alternating",
        "best fixed list",
        "item-kNN",
        "nearest text, newest item",
        "nearest text, whole history",
        ORACLE,
    ]
