"""TorchRL wraps the ids, one user and many: `make test-clients` installs it."""

import gymnasium as gym
import pytest
import torch

pytest.importorskip("torchrl", reason="torchrl is not installed: run `make test-clients`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torchrl's own making

import recsim_envs  # noqa: E402, F401  (registers the ids)

IDS = [spec.id for spec in gym.registry.values() if spec.namespace == "recsim"]


def newest(data):
    """The newest item of each history."""
    return (data["observation"] if "observation" in data.keys() else data["history"])[..., -1]


@pytest.mark.parametrize("env_id", IDS)
def test_torchrl_rolls_out_one_user(env_id):
    from torchrl.envs import GymEnv, GymWrapper
    from torchrl.envs.utils import check_env_specs

    env = GymWrapper(gym.make(env_id, max_steps=5), categorical_action_encoding=True)
    check_env_specs(env)
    data = env.rollout(12, break_when_any_done=False)
    assert (newest(data["next"]) == data["action"]).all()
    assert GymEnv(env_id, categorical_action_encoding=True).rollout(3).batch_size[0] >= 1


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
@pytest.mark.parametrize("env_id", IDS)
def test_torchrl_rolls_out_many_users(env_id, mode):
    from torchrl.envs import GymWrapper

    users = gym.make_vec(env_id, num_envs=3, autoreset_mode=mode, max_steps=5)
    env = GymWrapper(users, categorical_action_encoding=True)
    assert env.batch_size == torch.Size([3])
    data = env.rollout(12, break_when_any_done=False)
    assert data.batch_size == torch.Size([3, 12])
    done = data["next", "done"][..., 0]
    assert done.sum() >= 6
    # Also where a session ended: the observation after it is the session's last. Of dicts, torchrl
    # 0.14 returns zeros there, for Gymnasium's SyncVectorEnv as well; it prefers "Disabled".
    lost = done & (mode == "SameStep" and "history" in data.keys())
    assert ((newest(data["next"]) == data["action"]) | lost).all()
    after = newest(data)[:, 1:][done[:, :-1]]
    assert (after != data["action"][:, :-1][done[:, :-1]]).any(), "no new session began"
