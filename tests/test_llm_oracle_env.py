"""The environment in which the judge is the user, with judges that follow a script."""

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import recsim_envs  # noqa: F401  (registers the environments)
from llm_oracle import NONE, LLMOracleEnv, LLMOracleVectorEnv, TfidfJudge
from recsim_envs.state import get_state, set_state

N_ITEMS, LENGTH, H = 20, 3, 4


class ToyVectorEnv(gym.vector.VectorEnv):
    """Sessions of three items; the reward is the item's id. User i's first item is random."""

    def __init__(self, num_envs=2, with_user=False, autoreset_mode=AutoresetMode.SAME_STEP):
        self.metadata = {"autoreset_mode": autoreset_mode}
        self.num_envs, self.with_user = num_envs, with_user
        self.single_action_space = gym.spaces.Discrete(N_ITEMS)
        history = gym.spaces.Box(0, N_ITEMS, (H,), np.int32)
        self.single_observation_space = history
        if with_user:
            user = gym.spaces.Discrete(7)
            self.single_observation_space = gym.spaces.Dict(user=user, history=history)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.observation_space = gym.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )

    def _begin(self, who):
        self.history[who] = N_ITEMS
        self.history[who, -1] = self.np_random.integers(N_ITEMS, size=who.sum())
        self.users[who] = self.np_random.integers(7, size=who.sum())
        self.steps[who] = 0

    def _observe(self):
        if self.with_user:
            return {"user": self.users.copy(), "history": self.history.copy()}
        return self.history.copy()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.history = np.full((self.num_envs, H), N_ITEMS, dtype=np.int32)
        self.users = np.zeros(self.num_envs, dtype=np.int64)
        self.steps = np.zeros(self.num_envs, dtype=np.int64)
        self._begin(np.ones(self.num_envs, dtype=bool))
        return self._observe(), {}

    def step(self, actions):
        self.history = np.column_stack([self.history[:, 1:], actions]).astype(np.int32)
        self.steps += 1
        done = self.steps == LENGTH
        infos = {"item": np.array(actions), "bonus": np.zeros(self.num_envs)}
        if done.any():
            infos |= {"final_obs": self._observe(), "_final_obs": done.copy()}
            self._begin(done)
        no = np.zeros(self.num_envs, dtype=bool)
        return self._observe(), np.asarray(actions, dtype=float), no, done, infos


class ToyEnv(gym.Env):
    """`ToyVectorEnv` for one user."""

    metadata = {"render_modes": []}

    def __init__(self, with_user=False):
        self.inner = ToyVectorEnv(1, with_user)
        self.observation_space = self.inner.single_observation_space
        self.action_space = self.inner.single_action_space

    def _first(self, observation):
        if isinstance(observation, dict):
            return {name: value[0] for name, value in observation.items()}
        return observation[0]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        observation, _ = self.inner.reset(seed=int(self.np_random.integers(2**31)))
        return self._first(observation), {}

    def step(self, action):
        observation, reward, _, done, _ = self.inner.step(np.array([action]))
        return self._first(observation), float(reward[0]), False, bool(done[0]), {}


gym.register("test/OracleToy-v0", entry_point=ToyEnv)


class ScriptedJudge:
    """Picks as told, over and over, and remembers what it was asked."""

    name = "scripted"
    n_items = N_ITEMS

    def __init__(self, *script):
        self.script, self.asked = list(script), []

    def choose(self, histories, slates, users=None):
        self.asked.append((histories.copy(), slates.copy(), users))
        picks = self.script[(len(self.asked) - 1) % len(self.script)]
        return np.array(picks, dtype=np.int64)


SLATES = np.array([[3, 5, 7], [2, 4, 6]])


def test_the_pick_is_shown_and_rewarded():
    judge = ScriptedJudge([2, 0])
    env = LLMOracleVectorEnv(ToyVectorEnv(), judge, k=3)
    first, _ = env.reset(seed=0)
    observation, rewards, _, _, infos = env.step(SLATES)
    assert infos["item"].tolist() == [7, 2]
    assert infos["pick"].tolist() == [2, 0]
    assert rewards.tolist() == [1.0, 1.0]
    assert observation[:, -1].tolist() == [7, 2]
    assert "bonus" in infos
    histories, slates, users = judge.asked[0]
    assert np.array_equal(histories, first) and histories.dtype == np.int64
    assert np.array_equal(slates, SLATES)
    assert users is None


def test_none_shows_a_random_candidate_and_earns_nothing():
    env = LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([NONE, 1]), k=3)
    env.reset(seed=0)
    shown = []
    for _ in range(300):
        _, rewards, _, _, infos = env.step(SLATES)
        assert rewards.tolist() == [0.0, 1.0]
        assert infos["pick"].tolist() == [NONE, 1]
        assert infos["item"][1] == 4
        shown.append(infos["item"][0])
    counts = np.bincount(shown, minlength=N_ITEMS)
    assert counts.sum() == counts[SLATES[0]].sum() == 300
    assert counts[SLATES[0]].min() > 60  # 100 expected, standard deviation 8


def test_reward_env_keeps_the_inner_reward():
    env = LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([2, NONE]), k=3, reward="env")
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(SLATES)
    assert rewards.tolist() == infos["item"].tolist()
    assert rewards[0] == 7.0


def test_the_judge_sees_the_new_session_after_an_autoreset():
    judge = ScriptedJudge([0, 0])
    env = LLMOracleVectorEnv(ToyVectorEnv(), judge, k=3)
    env.reset(seed=0)
    for _ in range(LENGTH):
        observation, _, _, truncated, infos = env.step(SLATES)
    assert truncated.all()
    env.step(SLATES)
    asked = judge.asked[-1][0]
    assert np.array_equal(asked, observation)
    assert (asked[:, :-1] == N_ITEMS).all()
    assert (infos["final_obs"][:, 1:] == SLATES[:, :1]).all()


def test_the_judge_is_told_the_users():
    judge = ScriptedJudge([0, 0])
    env = LLMOracleVectorEnv(ToyVectorEnv(with_user=True), judge, k=3)
    observation, _ = env.reset(seed=0)
    env.step(SLATES)
    histories, _, users = judge.asked[0]
    assert np.array_equal(users, observation["user"])
    assert np.array_equal(histories, observation["history"])


def trajectory(env, seed, steps=30):
    rng = np.random.default_rng(0)
    record = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        slates = rng.integers(0, N_ITEMS, env.action_space.shape)
        observation, reward, _, done, infos = env.step(slates)
        record += [observation, reward, done, infos["item"], infos["pick"]]
        if not isinstance(done, np.ndarray) and done:
            record.append(env.reset()[0])
    return np.concatenate([np.ravel(part) for part in record])


def test_same_seed_same_trajectory():
    def make_vector():
        return LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([NONE, 1], [2, NONE]), k=3)

    def make_single():
        return LLMOracleEnv(gym.make("test/OracleToy-v0"), ScriptedJudge([NONE], [1]), k=3)

    for make in (make_vector, make_single):
        assert np.array_equal(trajectory(make(), 5), trajectory(make(), 5))
        assert not np.array_equal(trajectory(make(), 5), trajectory(make(), 6))


def test_the_single_environment_does_the_same():
    judge = ScriptedJudge([1], [NONE])
    env = LLMOracleEnv(gym.make("test/OracleToy-v0", with_user=True), judge, k=3)
    first, _ = env.reset(seed=0)
    observation, reward, _, _, info = env.step(SLATES[0])
    assert (reward, info["item"], info["pick"]) == (1.0, 5, 1)
    assert observation["history"][-1] == 5
    histories, slates, users = judge.asked[0]
    assert np.array_equal(histories, first["history"][None])
    assert users.tolist() == [first["user"]]
    assert slates.tolist() == [[3, 5, 7]]
    _, reward, _, _, info = env.step(SLATES[0])
    assert (reward, info["pick"]) == (0.0, NONE)
    assert info["item"] in SLATES[0]


@pytest.mark.parametrize("with_user", [False, True])
def test_gymnasium_accepts_it(with_user):
    env = LLMOracleEnv(gym.make("test/OracleToy-v0", with_user=with_user), ScriptedJudge([0]), k=3)
    with warnings.catch_warnings():
        # The only complaint allowed: that a wrapper is checked at all.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(env)
    assert env.spec.make().k == 3


def test_a_slate_may_hold_an_item_twice():
    env = LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([1, NONE]), k=3)
    env.reset(seed=0)
    _, _, _, _, infos = env.step(np.array([[3, 3, 7], [4, 4, 4]]))
    assert infos["item"].tolist() == [3, 4]


def test_bad_arguments_are_refused():
    class SmallJudge(ScriptedJudge):
        n_items = 5

    with pytest.raises(ValueError, match="knows 5 items, but the environment has 20"):
        LLMOracleVectorEnv(ToyVectorEnv(), SmallJudge([0, 0]))
    with pytest.raises(ValueError, match="k=21"):
        LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([0, 0]), k=21)
    with pytest.raises(ValueError, match="reward='llm'"):
        LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([0, 0]), reward="llm")
    with pytest.raises(ValueError, match=r"Discrete\(n_items\)"):
        LLMOracleEnv(gym.make("Pendulum-v1"), ScriptedJudge([0]))
    with pytest.raises(ValueError, match="SAME_STEP"):
        late = ToyVectorEnv(autoreset_mode=AutoresetMode.NEXT_STEP)
        LLMOracleVectorEnv(late, ScriptedJudge([0, 0]))


def test_bad_steps_are_refused():
    env = LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([0, 0]), k=3)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(SLATES)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(2, 2\): give shape \(2, 3\)"):
        env.step(SLATES[:, :2])


REAL_IDS = sorted(name for name in gym.registry if name.startswith("recsim/"))


@pytest.mark.parametrize("env_id", REAL_IDS)
def test_every_registered_environment_takes_a_judge(env_id):
    users = gym.make_vec(env_id, num_envs=8, leaves=False)
    judge = TfidfJudge(users.unwrapped.dataset)
    env = LLMOracleVectorEnv(users, judge)
    env.reset(seed=0)
    env.action_space.seed(0)
    n_picked = n_steps = 0
    ended = False
    while not ended:
        slates = env.action_space.sample()
        _, rewards, terminated, truncated, infos = env.step(slates)
        assert ((infos["pick"] >= 0) == (rewards == 1.0)).all()
        assert (slates == infos["item"][:, None]).any(axis=1).all()
        assert not terminated.any()
        ended = truncated.any()
        n_picked += int(rewards.sum())
        n_steps += len(rewards)
    assert 0 < n_picked <= n_steps

    single = LLMOracleEnv(gym.make(env_id), judge)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(single, skip_render_check=True)


@pytest.mark.parametrize("env_id", REAL_IDS)
def test_it_continues_from_a_state(env_id):
    users = gym.make_vec(env_id, num_envs=3)
    judge = TfidfJudge(users.unwrapped.dataset)

    def make_vector(k=10):
        return LLMOracleVectorEnv(gym.make_vec(env_id, num_envs=3), judge, k=k)

    def make_single(k=10):
        return LLMOracleEnv(gym.make(env_id), judge, k=k)

    def steps(env):
        env.action_space.seed(1)
        record = []
        for _ in range(40):
            record.append(env.step(env.action_space.sample()))
            if env.__class__ is LLMOracleEnv and (record[-1][2] or record[-1][3]):
                record.append(env.reset())
        return pickle.dumps(record)

    for make in (make_vector, make_single):
        first = make()
        first.reset(seed=0)
        first.step(first.action_space.sample())
        state = get_state(first)
        kept = pickle.dumps(state)
        expected = steps(first)
        assert pickle.dumps(state) == kept, "the state is shared with the environment"
        second = make()
        second.reset(seed=9)
        set_state(second, state)
        assert steps(second) == expected
        with pytest.raises(ValueError, match="k=10.*k=4"):
            set_state(make(k=4), state)


def test_the_state_of_an_environment_without_one_is_refused():
    env = LLMOracleVectorEnv(ToyVectorEnv(), ScriptedJudge([0, 0]), k=3)
    with pytest.raises(TypeError, match="ToyVectorEnv cannot be stopped.*no get_state"):
        get_state(env)
