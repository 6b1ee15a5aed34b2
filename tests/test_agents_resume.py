"""A run that is stopped, torn or killed ends as the unbroken one does, bit for bit."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import random
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from test_agents_learning import POLICY, one_thread
from test_agents_toys import Clusters, Tastes, vectorized

import recsim_envs  # noqa: F401  (registers the environments)
from ialp_agents import AIALP, IALP, PG, Checkpoints, SASRecExtractor, resume
from ialp_agents.saving.checkpoint import save
from llm_oracle import LLMOracleVectorEnv, PopularityJudge
from recsim_envs.files import content_hash
from recsim_envs.sb3 import BatchedVecEnv

__all__ = ["one_thread"]

STEPS = 96
QUICK: dict[str, Any] = dict(policy_kwargs=POLICY, learning_starts=16, batch_size=16, seed=0)


def fingerprint(model: Any) -> dict[str, str]:
    """A hash of each part of a model that training changes, whatever a checkpoint holds."""
    parts: dict[str, Any] = {
        "last_obs": model._last_obs,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "action_space": model.action_space.np_random.bit_generator.state,
        "progress": model._current_progress_remaining,
        "counts": (model.num_timesteps, model._n_updates, model._episode_num),
        "episodes": [(info["r"], info["l"], info.get("distinct")) for info in model.ep_info_buffer],
        "optimizer": model.policy.optimizer.state_dict(),
        "policy": model.policy.state_dict(),
        "agent": getattr(model, "_kept", None),
    }
    if hasattr(model, "policy_target"):
        parts["target"] = model.policy_target.state_dict()
    if hasattr(model, "replay_buffer"):
        parts["buffer"] = {
            name: value
            for name, value in vars(model.replay_buffer).items()
            if isinstance(value, dict | np.ndarray | int)
        }
    return {name: hashlib.sha256(plain(part)).hexdigest()[:8] for name, part in parts.items()}


def plain(value: Any) -> bytes:
    """The value as bytes that say its types and bits, but not who made it."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{value.shape}".encode() + value.tobytes()
    if isinstance(value, dict):
        return b"{%s}" % b",".join(plain(key) + plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return b"[%s]" % b",".join(plain(item) for item in value)
    return repr(value).encode()


def coat_judge() -> BatchedVecEnv:
    users = gym.make_vec("recsim/Coat-v0", num_envs=4)
    return BatchedVecEnv(LLMOracleVectorEnv(users, PopularityJudge(users.unwrapped.dataset), k=3))


def falling(progress: float) -> float:
    return 1e-3 * progress


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    """Weights for each of the toys."""
    folders = {}
    for make in (Clusters, Tastes):
        folders[make] = tmp_path_factory.mktemp("pretrained")
        IALP("SASRecPolicy", vectorized(make, n=4, k=4), **QUICK).save_pretrained(folders[make])
    return folders


def adapted(folder: Path, make: Any, scheme: Any) -> AIALP:
    return AIALP.from_pretrained(
        folder, vectorized(make, n=4), scheme=scheme, alpha_fraction=0.9, batch_size=16, seed=0
    )


SB3 = dict(
    policy_kwargs=dict(features_extractor_class=SASRecExtractor, net_arch=[], **POLICY), seed=0
)
AGENTS: dict[str, Any] = {
    "ialp, slates": lambda _: IALP("SASRecPolicy", vectorized(Clusters, n=4, k=4), **QUICK),
    "ialp, users": lambda _: IALP("SASRecPolicy", vectorized(Tastes, n=4, k=4), **QUICK),
    "ialp, a judge over Coat": lambda _: IALP("SASRecPolicy", coat_judge(), **QUICK),
    "ialp, a VecMonitor": lambda _: IALP("SASRecPolicy", VecMonitor(coat_judge()), **QUICK),
    "ialp, a full buffer": lambda _: IALP(
        "SASRecPolicy", vectorized(Clusters, n=4), buffer_size=48, **QUICK
    ),
    "ialp, dropout and other options": lambda _: IALP(
        "SASRecPolicy",
        vectorized(Clusters, n=1, leaves=True),
        learning_rate=falling,
        exploration="epsilon",
        train_freq=(2, "episode"),
        gradient_steps=-1,
        target_update_interval=3,
        **{
            **QUICK,
            "policy_kwargs": dict(
                tie_weights=False,
                features_extractor_kwargs=dict(embedding_dim=16, n_layers=1, dropout=0.1),
            ),
        },
    ),
    "ialp, gym.make": lambda _: IALP("SASRecPolicy", gym.make("recsim/Coat-v0"), **QUICK),
    "aialp_ft": lambda folders: adapted(folders[Clusters], Clusters, "ft"),
    "aialp_ap": lambda folders: adapted(folders[Clusters], Clusters, "ap"),
    "aialp_ap, users": lambda folders: adapted(folders[Tastes], Tastes, "ap"),
    "pg": lambda _: PG(
        "SASRecPolicy", vectorized(Tastes, n=4), n_steps=3, policy_kwargs=POLICY, seed=0
    ),
    "dqn": lambda _: DQN(
        "MlpPolicy", vectorized(Clusters, n=4), learning_starts=16, batch_size=16,
        exploration_fraction=0.9, target_update_interval=20, **SB3,
    ),
    "a2c": lambda _: A2C("MlpPolicy", vectorized(Clusters, n=4), n_steps=3, **SB3),
}  # fmt: skip


class StopAfter(BaseCallback):
    """Ends the training in the middle of a step, as an exception would."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.steps


def broken(make: Any, folder: Path, *stops: int, every: int = 12) -> Any:
    """Trains to the end, but each time from a new process's state, in so many pieces."""
    for piece, stop in enumerate((*stops, 10 * STEPS)):
        model = make()  # which seeds the generators: undone, for a resumed run must not need it
        if piece > 0:
            random.seed(piece)
            np.random.seed(piece)
            torch.manual_seed(piece)
        model.learn(STEPS, callback=[Checkpoints(folder, every), StopAfter(stop)])
        assert (model.num_timesteps < STEPS) == (stop < STEPS)
    return model


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("agent", AGENTS)
def test_the_end_is_the_unbroken_runs(agent: str, pretrained: Any, tmp_path: Path) -> None:
    def make() -> Any:
        return AGENTS[agent](pretrained)

    unbroken = fingerprint(make().learn(STEPS))
    whole = make().learn(STEPS, callback=Checkpoints(tmp_path / "whole", every=12))
    assert fingerprint(whole) == unbroken, "saving changes nothing"
    assert fingerprint(broken(make, tmp_path / "broken", 30, 40, 75)) == unbroken
    # The last checkpoints name the whole state's hash; sessions' times are not part of it.
    if not whole.ep_info_buffer:
        ends = [sorted(path.name for path in (tmp_path / f).iterdir()) for f in ("whole", "broken")]
        assert ends[0][-1] == ends[1][-1]


def ialp(**kwargs: Any) -> IALP:
    env = kwargs.pop("env", None) or vectorized(Clusters, n=kwargs.pop("n", 4), k=4)
    return IALP("SASRecPolicy", env, **{**QUICK, **kwargs})


def test_a_complete_run_is_not_repeated(tmp_path: Path) -> None:
    model = ialp(learning_rate=falling).learn(STEPS, callback=Checkpoints(tmp_path, every=12))
    expected = fingerprint(model)
    env = vectorized(Clusters, n=4, k=4)
    env.step_async = None  # so that a step fails
    again = ialp(env=env, learning_rate=falling)
    again.learn(STEPS, callback=Checkpoints(tmp_path, every=12))
    assert fingerprint(again) == expected


def test_resume_goes_beyond_the_end(tmp_path: Path) -> None:
    def beyond(model: Any) -> list[Any]:
        on = fingerprint(model.learn(40, reset_num_timesteps=False))
        assert model.num_timesteps == STEPS + 40
        return [on, fingerprint(model.learn(40))]  # which resets the environments

    expected = beyond(ialp().learn(STEPS, callback=Checkpoints(tmp_path, every=50)))
    model = ialp()
    np.random.seed(1)
    torch.manual_seed(1)
    resume(model, tmp_path)
    assert beyond(model) == expected


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    ialp().learn(STEPS, callback=Checkpoints(tmp_path, every=30))
    names = sorted(path.name.rpartition("-")[0] for path in tmp_path.iterdir())
    assert names == ["step-000000000064", "step-000000000096"]


@pytest.mark.parametrize(
    ("changed", "both"),
    [
        (dict(batch_size=32), "has batch_size=16, but this IALP has batch_size=32"),
        (dict(gamma=0.5), "has gamma=0.9, but this IALP has gamma=0.5"),
        (dict(seed=1), "has seed=0, but this IALP has seed=1"),
        (dict(advantage="td"), "has advantage='positive', but this IALP has advantage='td'"),
        (dict(learning_rate=falling), r"learning_rate=0.0001,.*learning_rate=.*\[0.001, 0.00075,"),
        (dict(n=2), "has n_envs=4, but this IALP has n_envs=2"),
        (
            dict(policy_kwargs=dict(features_extractor_kwargs=dict(embedding_dim=8))),
            r"shape of policy.actor.query.weight=\[16, 16\].*weight=\[8, 8\]",
        ),
        (
            dict(policy_kwargs=dict(features_extractor_kwargs=dict(
                embedding_dim=16, n_layers=1, n_heads=1))),
            r"policy_kwargs=.*policy_kwargs=.*'n_heads': 1",
        ),
        (
            dict(policy_kwargs=dict(POLICY, optimizer_kwargs=dict(betas=(0.5, 0.9)))),
            r"policy_kwargs=.*policy_kwargs=.*'betas': \[0.5, 0.9\]",
        ),
    ],
)  # fmt: skip
def test_other_settings_are_refused_and_change_nothing(
    changed: Any, both: str, tmp_path: Path
) -> None:
    ialp().learn(32, callback=Checkpoints(tmp_path, every=32))
    other = ialp(**changed)
    other.learn(4)
    before = fingerprint(other)
    with pytest.raises(ValueError, match=rf"step-0+32-\w+.safetensors cannot be resumed.*{both}"):
        resume(other, tmp_path)
    assert fingerprint(other) == before


def test_another_length_algorithm_or_environment_is_refused(tmp_path: Path) -> None:
    ialp().learn(32, callback=Checkpoints(tmp_path / "toy", every=32))
    with pytest.raises(ValueError, match="of a run of 32 steps, this run has 64"):
        ialp().learn(64, callback=Checkpoints(tmp_path / "toy", every=32))
    other = AIALP("SASRecPolicy", vectorized(Clusters, n=4, k=4), **QUICK)
    with pytest.raises(ValueError, match="algorithm='IALP'.* but this AIALP has algorithm='AIALP'"):
        resume(other, tmp_path / "toy")

    def users(**arguments: Any) -> IALP:
        return ialp(env=BatchedVecEnv(gym.make_vec("recsim/Coat-v0", num_envs=2, **arguments)))

    save(users(), tmp_path / "coat")
    resume(users(), tmp_path / "coat")
    for arguments, both in (
        ({"split": "test"}, "has split='train', but this ShopperSimulator has split='test'"),
        ({"leave_distance": 5.0}, "leave_distance=6.0.*leave_distance=5.0"),
    ):
        with pytest.raises(ValueError, match=both):
            resume(users(**arguments), tmp_path / "coat")
    with pytest.raises(FileNotFoundError, match="nothing holds no checkpoint"):
        resume(users(), tmp_path / "nothing")
    with pytest.raises(ValueError, match="every=0"):
        Checkpoints(tmp_path, every=0)


class NoState(gym.Env):
    """An environment without the two methods, that takes no step."""

    observation_space, action_space = Clusters().observation_space, Clusters().action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(self.observation_space.shape, np.int32), {}


class Plain(gym.Wrapper):
    """A wrapper of which nobody knows whether it remembers anything."""

    def step(self, action: Any) -> Any:
        raise AssertionError("a step was taken")


def test_what_cannot_be_saved_is_refused_before_the_first_step(tmp_path: Path) -> None:
    normalized = VecNormalize(vectorized(Clusters, n=2), norm_obs=False)
    for env, name in (
        (NoState(), "NoState"),
        (Plain(Clusters()), "Plain"),
        (normalized, "VecNormalize"),
    ):
        with pytest.raises(TypeError, match=f"{name} cannot be stopped and continued"):
            ialp(env=env).learn(10, callback=Checkpoints(tmp_path, every=1000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_torn_checkpoint_is_passed_over(damage: str, tmp_path: Path, caplog: Any) -> None:
    expected = fingerprint(ialp().learn(STEPS))
    ialp().learn(STEPS, callback=[Checkpoints(tmp_path, every=12), StopAfter(50)])
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(damage)])
    model = ialp().learn(STEPS, callback=Checkpoints(tmp_path, every=12))
    assert f"{newest.name} is damaged" in caplog.text
    assert fingerprint(model) == expected
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_does_not_start_over_if_no_checkpoint_can_be_read(
    tmp_path: Path, caplog: Any
) -> None:
    ialp().learn(24, callback=Checkpoints(tmp_path, every=12))
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the checkpoints in .* delete them to start"):
        ialp().learn(24, callback=Checkpoints(tmp_path, every=12))
    assert "is damaged" in caplog.text


def test_a_crash_while_writing_leaves_the_checkpoints(tmp_path: Path, monkeypatch: Any) -> None:
    expected = fingerprint(ialp().learn(STEPS))
    ialp().learn(STEPS, callback=[Checkpoints(tmp_path, every=12), StopAfter(50)])
    before = sorted(tmp_path.iterdir())

    def crash(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            ialp().learn(STEPS, callback=Checkpoints(tmp_path, every=12))
    assert sorted(tmp_path.glob("step-*")) == before
    assert len(list(tmp_path.iterdir())) == len(before) + 1, "the half-written file"
    model = ialp().learn(STEPS, callback=Checkpoints(tmp_path, every=12))
    assert fingerprint(model) == expected
    assert len(list(tmp_path.iterdir())) == 2


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


events: list[str] | None = None


def listen(event: str, _: Any) -> None:
    if events is not None and event in ("pickle.find_class", "exec", "compile", "os.system"):
        events.append(event)


def test_loading_a_strangers_folder_runs_no_code(tmp_path: Path, caplog: Any) -> None:
    global events
    folder, marker = tmp_path / "run", tmp_path / "marker"
    content = pickle.dumps(Payload(marker))
    pickle.loads(content)
    marker.unlink()  # the payload works
    folder.mkdir()
    (folder / f"step-000000000012-{content_hash(content)}.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="none of the checkpoints"):
        resume(ialp(), folder)
    assert "is no safetensors file" in caplog.text
    assert not marker.exists()

    ialp().learn(STEPS, callback=Checkpoints(tmp_path / "whole", every=12))
    model = ialp()
    sys.addaudithook(listen)
    events = []
    eval("1")
    assert events == ["compile", "exec"], "the hook hears"
    resume(model, tmp_path / "whole")
    heard, events = events, None
    assert heard == ["compile", "exec"]


KILLED: dict[str, Any] = {
    "ialp": lambda _: IALP("SASRecPolicy", vectorized(Clusters, n=4, k=4), **QUICK),
    "aialp": lambda folder: adapted(folder, Clusters, "ap"),
}


def train_to_the_end(agent: str, weights: Path, folder: Path) -> None:
    """The script that is killed; it leaves the fingerprint of what it ends with."""
    torch.set_num_threads(1)
    model = KILLED[agent](weights).learn(64, callback=Checkpoints(folder / "run", every=8))
    (folder / "end.json").write_text(json.dumps(fingerprint(model)))


@pytest.mark.parametrize("agent", KILLED)
def test_killed_at_100_random_moments(
    agent: str, pretrained: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    # Not a fork of this process, whose libraries have threads; and not a new interpreter for each
    # attempt, which would spend seconds on imports (torch makes one of its own at the first use).
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # where the server finds them

    def attempt(folder: Path, seconds: float | None = None) -> bool:
        folder.mkdir(exist_ok=True)
        arguments = (agent, pretrained[Clusters], folder)
        process = context.Process(target=train_to_the_end, args=arguments)
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode == 0

    def end(folder: Path) -> tuple[Any, str]:
        return json.loads((folder / "end.json").read_text()), max((folder / "run").iterdir()).name

    attempt(tmp_path / "unbroken")
    # The limit follows the machine's speed, to where three of four attempts are killed.
    rng, limit = np.random.default_rng(0), 1.0
    kills = runs = in_a_write = 0
    while kills < 100:
        folder = tmp_path / str(runs)
        while not attempt(folder, rng.uniform(0, limit)):
            kills += 1
            in_a_write += any((folder / "run").glob(".step-*"))
            limit *= 1.05
        assert end(folder) == end(tmp_path / "unbroken")
        runs += 1
        limit /= 1.15
    print(f"{agent}: {kills} kills in {runs} runs, {in_a_write} in a write, limit {limit:.2f} s")
