"""REINFORCE in plain PyTorch on a Gymnasium vector environment: no agent library at all.

    python -m examples.plain_pytorch

prints the mean Return and Length of sessions on the test split, before and after the training. The
users are a replica.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import recsim_envs  # noqa: F401  registers the environments

ENV_ID = "recsim/Industry-v0"
GAMMA = 0.9
Users = gym.vector.VectorEnv[Any, Any, Any]


class Policy(nn.Module):
    """A recurrent network over the session; an item's score is its vector times the state."""

    def __init__(self, n_items: int, dim: int = 64) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
        nn.init.normal_(self.items.weight, std=dim**-0.5)  # so that it starts almost uniform
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, histories: Tensor) -> Categorical:
        """Maps (B, H) item ids to a distribution over the items, (B, n_items)."""
        _, state = self.gru(self.items(histories))  # (1, B, d)
        return Categorical(logits=state[0] @ self.items.weight[:-1].T)


def play(policy: Policy, users: Users, seed: int | None) -> tuple[Tensor, ...]:
    """Plays the first session of each of N users.

    Returns:
        log pi(a|s), the reward and whether the session still ran, each (N, T).
    """
    histories, _ = users.reset(seed=seed)
    running = np.ones(users.num_envs, dtype=bool)
    log_probs, rewards, runs = [], [], []
    while running.any():
        choice = policy(torch.from_numpy(histories).long())
        items = choice.sample()  # (N,)
        histories, reward, terminated, truncated, _ = users.step(items.numpy())
        log_probs.append(choice.log_prob(items))
        rewards.append(torch.as_tensor(reward, dtype=torch.float32))
        runs.append(torch.from_numpy(running.copy()))
        running &= ~(terminated | truncated)
    return torch.stack(log_probs, 1), torch.stack(rewards, 1), torch.stack(runs, 1)


def evaluate(policy: Policy, users: Users, seed: int) -> tuple[float, float]:
    """Returns the mean Return and Length of one session a user."""
    with torch.no_grad():
        _, rewards, runs = play(policy, users, seed)
    return (rewards * runs).sum(1).mean().item(), runs.sum(1).float().mean().item()


def main(updates: int = 100, n_users: int = 64, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Trains, and returns the mean Return and Length on the test split, before and after."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    train: Any = gym.make_vec(ENV_ID, num_envs=n_users)
    test: Any = gym.make_vec(ENV_ID, num_envs=n_users, split="test")
    print(test.dataset)
    policy = Policy(int(train.single_action_space.n))
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    results = {"before": evaluate(policy, test, seed)}
    train.reset(seed=seed)  # later resets go on with the same generator
    for _ in range(updates):
        log_probs, rewards, runs = play(policy, train, seed=None)  # (N, T)
        to_go = torch.zeros_like(rewards)
        for t in reversed(range(rewards.shape[1])):
            later = to_go[:, t + 1] if t + 1 < rewards.shape[1] else 0.0
            to_go[:, t] = rewards[:, t] * runs[:, t] + GAMMA * later
        advantage = to_go - to_go[runs].mean()
        loss = -(advantage * log_probs)[runs].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()
    results["after"] = evaluate(policy, test, seed)
    for moment, (return_, length) in results.items():
        print(f"{moment:6}: Return {return_:.2f}, Length {length:.2f}")
    return results


if __name__ == "__main__":
    main()
