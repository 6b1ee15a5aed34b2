"""Shows, in a browser, a trained policy and another one with the same user, step by step.

python -m ialp_agents.watch --env recsim/Industry-v0 --data my-shop --policy ialp
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import tyro

from ialp_agents.watch.server import WatchServer
from ialp_agents.watch.stage import Stage, load_policy
from recsim_envs.cli import EnvId
from recsim_envs.report.play import make_users
from recsim_envs.users.sessions import History
from recsim_envs.users.simulator import Split


def watch(
    env: EnvId = "recsim/LFM-v0",
    data: str = "replica",
    split: Split = "test",
    history: History | None = None,
    policy: Path | None = None,
    port: int = 8000,
) -> None:
    """Serves one page to this machine until Ctrl-C.

    Args:
        env: which users.
        data: "replica" or a prepared name.
        split: whose users and rewards.
        history: what enters the users' histories: as the policy was trained. Not for Coat-v0.
        policy: a folder of `save_pretrained`, or a zip of IALP, AIALP or PG; without it, random,
            popularity, nearest text and the oracle can be watched.
        port: of 127.0.0.1; 0 is any free one.
    """
    # One user at a time: a second thread would wait more than it computes.
    torch.set_num_threads(1)
    if history is not None and env == "recsim/Coat-v0":
        raise ValueError(f"--history {history} is for sessions, Coat-v0 has none: leave it out")
    arguments = {} if history is None else {"history": history}
    users = make_users(env, 1, data=data, split=split, **arguments)
    trained = None if policy is None else load_policy(policy, users)
    stage = Stage(f"{env}, {split} users", users, trained)
    with WatchServer(stage, port) as server:
        print(f"watch at {server.url} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    try:
        tyro.cli(watch, prog="python -m ialp_agents.watch")
    except (ValueError, OSError) as error:
        sys.exit(f"ialp_agents.watch: {error}")
