"""What SB3's dashboards, its evaluation and its wrappers make of sessions of items."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

import recsim_envs  # noqa: F401  (registers the environments)
from ialp_agents import (
    AIALP,
    IALP,
    PG,
    Checkpoints,
    Recommender,
    SASRecActorCriticPolicy,
    SASRecPolicy,
    SASRecQPolicy,
    resume,
)
from ialp_agents.logs import record_sessions
from llm_oracle import LLMOracleVectorEnv, PopularityJudge
from recsim_envs.envs import RecommenderVectorEnv
from recsim_envs.sb3 import BatchedVecEnv
from recsim_envs.state import get_state, set_state

COAT = "recsim/Coat-v0"
POLICY: dict[str, Any] = {"features_extractor_kwargs": {"embedding_dim": 16, "n_layers": 1}}
QUICK: dict[str, Any] = dict(policy_kwargs=POLICY, learning_starts=8, batch_size=8, seed=0)
AGENTS = ["IALP", "PG", "A2C", "DQN"]
already_counted = pytest.mark.filterwarnings(
    "ignore:The environment is already wrapped with a `Monitor`"
)


@pytest.fixture(autouse=True)
def threads(one_thread: None) -> Iterator[None]:
    yield


def coat(n: int = 4, env_id: str = COAT, **arguments: Any) -> BatchedVecEnv:
    return BatchedVecEnv(gym.make_vec(env_id, num_envs=n, **arguments))


def judged(n: int = 4, k: int = 3, **arguments: Any) -> BatchedVecEnv:
    users: Any = gym.make_vec(COAT, num_envs=n, **arguments)
    return BatchedVecEnv(LLMOracleVectorEnv(users, PopularityJudge(users.dataset), k=k))


def make(agent: str, env: Any) -> Any:
    """One of the four agents, small; each asks its network at the first step."""
    if agent == "IALP":
        return IALP("SASRecPolicy", env, **QUICK)
    if agent == "PG":
        return PG("SASRecPolicy", env, policy_kwargs=POLICY, seed=0)
    if agent == "A2C":
        return A2C(SASRecActorCriticPolicy, env, policy_kwargs=dict(POLICY), seed=0)
    return DQN(SASRecQPolicy, env, exploration_initial_eps=0.05, **(QUICK | {"learning_starts": 0}))


# Sessions that are counted


@already_counted
@pytest.mark.parametrize("make_env", [coat, judged])
def test_sessions_are_counted_as_a_vec_monitor_counts_them(make_env: Any) -> None:
    plain, monitor = make_env(), VecMonitor(make_env(), info_keywords=("distinct",))
    for env in (plain, monitor):
        env.seed(0)
        env.reset()
    rng, ended = np.random.default_rng(0), 0
    for step in range(60):
        if step == 31:  # in the middle of sessions
            plain.reset()
            monitor.reset()
        actions = np.array([rng.permutation(300)[:3] for _ in range(4)])
        actions = actions if make_env is judged else actions[:, 0]
        ours, theirs = plain.step(actions), monitor.step(actions)
        for done, own, other in zip(ours[2], ours[3], theirs[3], strict=True):
            assert ("episode" in own) == ("episode" in other) == done
            if done:
                ended += 1
                assert own["episode"].keys() == other["episode"].keys()
                assert own["episode"].pop("t") >= 0 and other["episode"].pop("t") >= 0
                assert own["episode"] == other["episode"]
                assert type(own["episode"]["r"]) is float and type(own["episode"]["l"]) is int
    assert ended > 5


def test_a_vec_monitor_on_top_is_said_to_count_anew() -> None:
    with pytest.warns(UserWarning, match="statistics will be.*overwritten"):
        VecMonitor(coat())


def test_the_running_sums_are_part_of_the_state() -> None:
    env, other = coat(leaves=False), coat(leaves=False)
    for each in (env, other):
        each.reset()
    for item in range(5):
        env.step(np.full(4, item))
    state = get_state(env)
    set_state(other, state)
    for step in range(5, 40):
        ended = [each.step(np.full(4, step))[3] for each in (env, other)]
        sums = [
            [(i["episode"]["r"], i["episode"]["l"]) for i in x if "episode" in i] for x in ended
        ]
        assert sums[0] == sums[1]
    assert state["lengths"].tolist() == [5] * 4, "the state is shared with the environment"


def test_sb3_knows_that_sessions_are_counted() -> None:
    env = coat()
    assert env.env_is_wrapped(Monitor) == [True] * 4
    assert env.env_is_wrapped(Monitor, indices=[1, 2]) == [True] * 2
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * 4


class Writer(KVWriter):
    """Keeps what is dumped."""

    def __init__(self) -> None:
        self.dumped: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], *_: Any) -> None:
        self.dumped.append(dict(key_values))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("agent", ["IALP", "PG", "DQN"])
def test_evaluation_neither_warns_nor_miscounts(agent: str, tmp_path: Path) -> None:
    """The suite makes every warning an error."""
    users = coat(max_steps=5, leaves=False)
    model = make(agent, users)
    watch = EvalCallback(coat(max_steps=5, leaves=False), eval_freq=8, n_eval_episodes=4, verbose=0)
    model.learn(40, callback=watch)
    returns, lengths = evaluate_policy(model, users, 10, return_episode_rewards=True)
    assert lengths == [5] * 10 and all(1 <= return_ / 5 <= 5 for return_ in returns)
    # A reward that a wrapper changes for the learner is the users' own again.
    scaled = VecNormalize(users, norm_obs=False)
    users.seed(3)
    again, _ = evaluate_policy(model, scaled, 10, return_episode_rewards=True)
    users.seed(3)
    plain, _ = evaluate_policy(model, users, 10, return_episode_rewards=True)
    assert again == plain


SETUPS: dict[str, Any] = {
    "IALP": lambda folder: IALP("SASRecPolicy", judged(leaves=False, max_steps=6), **QUICK),
    "AIALP_ft": lambda folder: adapted(folder, "ft"),
    "AIALP_ap": lambda folder: adapted(folder, "ap"),
    "PG": lambda folder: make("PG", coat()),
}


def adapted(folder: Path, scheme: Any) -> AIALP:
    IALP("SASRecPolicy", judged(), **QUICK).save_pretrained(folder)
    return AIALP.from_pretrained(folder, coat(), scheme=scheme, batch_size=8, seed=0)


@pytest.mark.parametrize("setup", SETUPS)
def test_the_readmes_setups_log_what_the_paper_reports(setup: str, tmp_path: Path) -> None:
    model = SETUPS[setup](tmp_path)
    writer = Writer()
    model.set_logger(Logger(None, [writer]))
    model.learn(160, log_interval=1)
    last = writer.dumped[-1]
    sessions = list(model.ep_info_buffer)
    rewards, steps = (np.array([info[key] for info in sessions]) for key in ("r", "l"))
    assert last["rollout/ep_rew_mean"] == pytest.approx(rewards.mean())
    assert last["rollout/ep_len_mean"] == pytest.approx(steps.mean())
    assert last["rollout/R_avg"] == pytest.approx(rewards.sum() / steps.sum())
    assert last["rollout/distinct"] == pytest.approx(np.mean([s["distinct"] for s in sessions]))
    assert 0 < last["rollout/distinct"] <= 1
    if setup == "IALP":  # the judge's reward: the share of verdicts that named an item
        assert 0 < last["rollout/R_avg"] <= 1


def test_tensorboard_shows_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = IALP("SASRecPolicy", judged(), tensorboard_log=str(tmp_path), **QUICK)
    model.learn(160, log_interval=1)
    events = EventAccumulator(str(tmp_path / "IALP_1")).Reload()
    for name in ("ep_rew_mean", "ep_len_mean", "R_avg", "distinct"):
        assert events.Scalars(f"rollout/{name}")


def test_r_avg_is_the_ratio_of_the_sums() -> None:
    logger = Logger(None, [])
    record_sessions(logger, None)
    record_sessions(logger, [])
    assert not logger.name_to_value
    record_sessions(logger, [{"r": 1.0, "l": 1}, {"r": 2.0, "l": 5, "distinct": 0.5}])
    assert dict(logger.name_to_value) == {"rollout/R_avg": 0.5, "rollout/distinct": 0.5}


def test_one_environment_of_gym_make_logs_r_avg_too() -> None:
    model = IALP("SASRecPolicy", gym.make(COAT), **QUICK)
    writer = Writer()
    model.set_logger(Logger(None, [writer]))
    model.learn(40, log_interval=1)
    assert "rollout/R_avg" in writer.dumped[-1] and "rollout/distinct" not in writer.dumped[-1]


def test_resumed_means_are_those_of_the_unbroken_run(tmp_path: Path) -> None:
    def logged(model: Any, **arguments: Any) -> list[dict[str, Any]]:
        writer = Writer()
        model.set_logger(Logger(None, [writer]))
        model.learn(log_interval=1, **arguments)
        return [
            {key: value for key, value in each.items() if key.startswith("rollout/")}
            for each in writer.dumped
        ]

    def ialp() -> IALP:
        return IALP("SASRecPolicy", judged(leaves=False, max_steps=7), **QUICK)

    first = ialp()
    first.learn(36, callback=Checkpoints(tmp_path, every=36))  # 9 steps: inside of sessions
    expected = logged(first, total_timesteps=80, reset_num_timesteps=False)
    second = ialp()
    resume(second, tmp_path)
    assert logged(second, total_timesteps=80, reset_num_timesteps=False) == expected
    assert expected


# Alpha over several calls of learn()


class Alphas(BaseCallback):
    """Notes the learner's share at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.alphas: list[float] = []

    def _on_step(self) -> bool:
        policy: Any = self.model.policy
        self.alphas.append(float(policy.alpha))
        return True


@pytest.mark.parametrize("schedule", ["linear", "step"])
@pytest.mark.parametrize("reset", [True, False])
def test_alpha_never_falls(reset: bool, schedule: Any) -> None:
    model = AIALP("MixturePolicy", coat(), alpha_fraction=1, alpha_schedule=schedule, **QUICK)
    watch = Alphas()
    model.learn(40, callback=watch)
    n_first = len(watch.alphas)
    assert watch.alphas[0] == pytest.approx(0.1)
    assert watch.alphas[n_first // 2] == pytest.approx(0.55 if schedule == "linear" else 0.1)
    assert float(model.policy.alpha) == 1
    model.learn(40, callback=watch, reset_num_timesteps=reset)
    assert len(watch.alphas) == 2 * n_first
    assert watch.alphas[n_first:] == [1] * n_first
    assert watch.alphas == sorted(watch.alphas)


@pytest.mark.parametrize("reset", [True, False])
def test_alpha_goes_on_from_where_a_call_was_stopped(reset: bool) -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 20

    model = AIALP("MixturePolicy", coat(), alpha_fraction=1, **QUICK)
    watch = Alphas()
    model.learn(40, callback=[watch, Stop()])
    reached = float(model.policy.alpha)
    assert 0.1 < reached < 1
    model.learn(40, callback=watch, reset_num_timesteps=reset)
    assert watch.alphas == sorted(watch.alphas) and float(model.policy.alpha) == 1


# Wrappers


@pytest.mark.parametrize("agent", ["IALP", "PG"])
def test_wrappers_that_change_ids_are_refused_at_construction(agent: str) -> None:
    lfm = {"env_id": "recsim/LFM-v0"}
    model = make(agent, coat(**lfm))
    for env, words in (
        (VecNormalize(coat(), norm_obs_keys=["history"]), "VecNormalize.*norm_obs=False"),
        (VecNormalize(coat(**lfm)), "VecNormalize.*norm_obs=False"),
        (VecNormalize(VecNormalize(coat(**lfm)), norm_obs=False), "VecNormalize.*norm_obs=False"),
        (VecFrameStack(coat(**lfm), 4), "VecFrameStack.*leave it out"),
        (VecNormalize(VecFrameStack(coat(**lfm), 4), norm_obs=False), "VecFrameStack"),
    ):
        with pytest.raises(ValueError, match=words):
            make(agent, env)
    with pytest.raises(ValueError, match="VecNormalize"):
        model.set_env(VecNormalize(coat(**lfm)))
    model.set_env(VecNormalize(coat(**lfm), norm_obs=False))


@pytest.mark.parametrize("agent", AGENTS)
def test_normalised_rewards_are_accepted(agent: str) -> None:
    env = VecNormalize(coat(), norm_obs=False, norm_reward=True)
    model = make(agent, env).learn(48)
    assert model.num_timesteps >= 48


@pytest.mark.parametrize("agent", ["A2C", "DQN"])
@pytest.mark.parametrize("env_id", [COAT, "recsim/LFM-v0"])
def test_sb3s_agents_refuse_them_at_the_first_step(agent: str, env_id: str) -> None:
    """SB3 shows a policy no wrapper: what can be seen is the first observation."""
    keys = ["history"] if env_id == COAT else None
    model = make(agent, VecNormalize(coat(env_id=env_id), norm_obs_keys=keys))
    with pytest.raises(ValueError, match="no item id: .*with VecNormalize set norm_obs=False"):
        model.learn(64)
    assert model.num_timesteps <= 4
    if env_id != COAT:  # VecFrameStack refuses users itself
        model = make(agent, VecFrameStack(coat(env_id=env_id), 4))
        with pytest.raises(ValueError, match="leave out VecFrameStack"):
            model.learn(64)
        assert model.num_timesteps <= 4


def test_float_spaces_are_refused_with_the_reason() -> None:
    space = gym.spaces.Box(-10, 10, (5,), np.float32)
    with pytest.raises(ValueError, match="with VecNormalize set norm_obs=False"):
        SASRecPolicy(space, gym.spaces.Discrete(10), lambda _: 1e-3)


# From slates to users


@pytest.mark.parametrize("agent", ["IALP", "AIALP"])
def test_the_recommender_is_the_agent_on_single_items(agent: str, tmp_path: Path) -> None:
    policy = "MixturePolicy" if agent == "AIALP" else "SASRecPolicy"
    model: IALP = {"IALP": IALP, "AIALP": AIALP}[agent](policy, judged(), **QUICK)
    recommender, users = model.recommender, coat()
    assert isinstance(recommender, Recommender)
    assert recommender.action_space == users.action_space
    obs = users.reset()
    before = recommender.policy.log_probs(recommender.obs_to_tensor(obs)[0])
    model.learn(80)  # the same networks: it goes on with what is learned
    after = recommender.policy.log_probs(recommender.obs_to_tensor(obs)[0])
    assert not torch.equal(before, after)
    for deterministic in (True, False):
        actions = []
        for each in (model, recommender):
            torch.manual_seed(0)
            actions.append(each.predict(obs, deterministic=deterministic)[0])
        assert np.array_equal(actions[0][:, 0], actions[1]), "the slate's first item"
    one = {key: values[0] for key, values in obs.items()}
    item, state = recommender.predict(one)
    assert item.shape == () and state is None and users.action_space.contains(item)
    returns, lengths = evaluate_policy(recommender, users, 8, return_episode_rewards=True)
    assert len(returns) == len(lengths) == 8
    recommender.save(tmp_path / "recommender")
    again = Recommender.load(tmp_path / "recommender")
    assert np.array_equal(
        *(each.predict(obs, deterministic=True)[0] for each in (again, recommender))
    )


def test_the_recommender_does_not_change_how_the_agent_learns() -> None:
    def learned(plays: bool) -> list[torch.Tensor]:
        users = coat()

        class Play(BaseCallback):
            def _on_step(self) -> bool:
                if plays:
                    model.recommender.predict(users.reset(), deterministic=True)
                return True

        dropout = {"features_extractor_kwargs": {"embedding_dim": 16, "dropout": 0.5}}
        model = IALP("SASRecPolicy", judged(), **(QUICK | {"policy_kwargs": dropout}))
        model.learn(80, callback=Play())
        return list(model.policy.state_dict().values())

    assert all(map(torch.equal, learned(False), learned(True)))


def test_an_agent_of_single_items_is_its_own_recommender() -> None:
    model = make("IALP", coat())
    obs = coat().reset()
    actions = [m.predict(obs, deterministic=True)[0] for m in (model, model.recommender)]
    assert np.array_equal(*actions)


USERS: dict[str, Any] = {
    "gym.make": lambda: gym.make(COAT),
    "gym.make_vec": lambda: gym.make_vec(COAT, num_envs=4),
    "gym.make_vec, sync": lambda: gym.make_vec(
        COAT,
        num_envs=4,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    ),
    "BatchedVecEnv": coat,
    "DummyVecEnv": lambda: make_vec_env(COAT, n_envs=4, env_kwargs={"render_mode": None}),
}


@pytest.mark.parametrize("users", USERS)
def test_slates_shown_to_users_are_refused_by_their_name(users: str) -> None:
    env = USERS[users]()
    model = IALP("SASRecPolicy", judged(), **QUICK)
    slate = r"has shape \((4, )?3,?\): give (one number|shape \(4,\)); this looks like a slate.*"
    slate += re.escape("model.recommender")
    if not users.startswith("gym.make_vec"):
        with pytest.raises(ValueError, match=slate):
            evaluate_policy(model, env, 4, warn=False)
    obs = env.reset()
    obs = obs[0] if isinstance(obs, tuple) else obs
    slates, _ = model.predict(obs)
    with pytest.raises(ValueError, match=slate):
        env.step(slates)
    env.step(model.recommender.predict(obs)[0])


def test_only_slates_are_called_so() -> None:
    vector: Any = gym.make_vec(COAT, num_envs=4)
    single = gym.make(COAT)
    oracle = judged()
    for env in (vector, single, oracle):
        env.reset()
    batched = BatchedVecEnv(vector)
    for env, actions in (
        (vector, [1, 2, 3]),
        (vector, [[1], [2], [3], [4]]),
        (vector, [[1, 2], [3, 4]]),
        (vector, np.ones((4, 2))),
        (vector, np.ones((4, 2, 2), dtype=int)),
        (single, [1]),
        (batched, np.array([1, 2, 3])),
        (oracle, np.zeros((4, 3, 2), dtype=int)),
        (oracle, np.zeros(4, dtype=int)),
    ):
        with pytest.raises(ValueError) as error:
            env.step(actions)
        assert "slate" not in str(error.value)
    assert isinstance(vector, RecommenderVectorEnv)
    with pytest.raises(ValueError, match=r"(?s)options\['user'\].*shape \(4, 2\)") as error:
        vector.reset(options={"user": np.zeros((4, 2), dtype=int)})
    assert "slate" not in str(error.value)
