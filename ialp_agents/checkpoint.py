"""Bit-exact resume: a run that is stopped anywhere and started again ends as if never stopped."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections import deque
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from ialp_agents.buffers import DictItemReplayBuffer, ItemReplayBuffer
from ialp_agents.files import DamagedFileError, Tree, read_tree, write_tree
from ialp_agents.vec_state import get_vec_state, set_vec_state
from recsim_envs.state import check_settings

FORMAT = 1
KEPT_CHECKPOINTS = 2  # the second is there in case that a disk damages the first
# What SB3's algorithms count. The algorithm's other public numbers and strings are its settings...
COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_current_progress_remaining",
    "_episode_num",
    "_n_updates",
    "_n_calls",  # DQN
    "exploration_rate",  # DQN
)
# ... except for those that have no influence on what is learned.
NOT_SETTINGS = (*COUNTERS, "learning_rate", "start_time", "tensorboard_log", "verbose")


class Checkpoints(BaseCallback):
    """Saves a run again and again; the same script, started again, goes on from the last save.

    ::

        model = IALP("SASRecPolicy", env, seed=0)
        model.learn(50_000, callback=Checkpoints("run", every=1000))

    If ``run`` holds a checkpoint when ``learn`` starts, everything is restored from the newest one:
    weights, optimiser, replay buffer, random generators, environments, schedules and counters. What
    the script ends with is then, bit for bit, what it would have ended with unstopped, on the same
    machine with the same versions and number of threads. A run that was complete is not repeated.

    Works for IALP, AIALP, PG, and SB3's DQN and A2C. Other callbacks start anew: put this one
    first in a list.

    Args:
        folder: of one call of ``learn`` alone; made if missing. It holds the newest two checkpoints
            and needs room for three.
        every: environment steps between checkpoints; saved is at the next end of a rollout and its
            training.

    Raises:
        TypeError: at the start of the training, if the environment's state cannot be had: see
            :mod:`recsim_envs.state`.
        ValueError: if ``every`` is below 1; or, at the start of the training, if the checkpoint is
            of other settings (the message names both), or no checkpoint can be read.
    """

    def __init__(self, folder: str | Path, every: int) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every}: save after at least 1 step")
        self.folder = Path(folder)
        self.every = every
        self._next = 0
        self._in_rollout = False

    def _on_training_start(self) -> None:
        self._in_rollout = False
        self._next = 0  # at once, so that what cannot be saved is known before it matters
        newest = _read_newest(self.folder)
        if newest is None:
            return
        path, state = newest
        total, saved = self.model._total_timesteps, state["counters"]["_total_timesteps"]
        if saved != total:
            raise ValueError(
                f"{path} is of a run of {saved} steps, this run has {total}: the schedules depend "
                "on it, so ask for the same number, or use another folder"
            )
        _restore(self.model, path, state)
        self.num_timesteps = self.model.num_timesteps
        self._next = self.num_timesteps + self.every

    def _on_rollout_start(self) -> None:
        # Between two rollouts no step is open, nor is a gradient step owed.
        self._in_rollout = True
        if self.model.num_timesteps >= self._next:
            self._save()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._in_rollout = False

    def _on_training_end(self) -> None:
        # A callback that stops the training does so in the middle of a step.
        if not self._in_rollout:
            self._save()

    def _save(self) -> None:
        save(self.model, self.folder)
        self._next = self.model.num_timesteps + self.every


def save(model: BaseAlgorithm, folder: str | Path) -> Path:
    """Adds a checkpoint to a folder, and removes all but the newest two.

    Args:
        model: not in the middle of a rollout: before or after ``learn``, or at a rollout's start.
        folder: made if missing. A crash at any moment leaves at least one whole checkpoint in it,
            if it held one before.

    Returns:
        The checkpoint's file.

    Raises:
        TypeError: if the state of the environment or the replay buffer cannot be had.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    newest = write_tree(folder, f"step-{model.num_timesteps:012d}", _state(model))
    # Of later steps there can only be damaged ones: they would have been resumed from.
    earlier = [path for path in _checkpoints(folder) if _step(path) < _step(newest)]
    kept = {newest, *earlier[: KEPT_CHECKPOINTS - 1]}
    for old in {*_checkpoints(folder), *folder.glob(".step-*")} - kept:
        old.unlink()
    return newest


def resume(model: BaseAlgorithm, folder: str | Path) -> None:
    """Puts a model where the newest checkpoint in a folder was.

    :class:`Checkpoints` does so by itself; this is for looking at a run, or for going beyond its
    end with ``learn(more, reset_num_timesteps=False)``.

    Args:
        model: made with the same arguments, on an environment made with the same arguments.
        folder: where :class:`Checkpoints` or :func:`save` wrote.

    Raises:
        FileNotFoundError: if the folder holds no checkpoint.
        ValueError: if model or environment were made otherwise, the message names both; or if no
            checkpoint can be read.
    """
    newest = _read_newest(Path(folder))
    if newest is None:
        raise FileNotFoundError(f"{folder} holds no checkpoint: train with Checkpoints({folder!r})")
    _restore(model, *newest)


def _checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoints, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _step(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def _read_newest(folder: Path) -> tuple[Path, Tree] | None:
    """Reads the newest checkpoint that is whole; None if there is none at all."""
    paths = _checkpoints(folder)
    for path in paths:
        try:
            return path, read_tree(path)
        except DamagedFileError as error:
            warnings.warn(f"{error}; the checkpoint before it is used", stacklevel=2)
    if paths:
        raise ValueError(
            f"none of the checkpoints in {folder} can be read: delete them to start from the "
            "beginning, or use another folder"
        )
    return None


def _state(model: BaseAlgorithm) -> Tree:
    """All that decides how the training goes on."""
    tensors, optimizers = _torch_parts(model)
    buffer = getattr(model, "replay_buffer", None)
    return {
        "format": FORMAT,
        "settings": _settings(model),
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "weights": tensors,
        "optimizers": {name: _optimizer_state(opt) for name, opt in optimizers.items()},
        "buffer": None if buffer is None else _buffer_state(buffer),
        "last_obs": model._last_obs,
        "last_episode_starts": model._last_episode_starts,
        "ep_info": list(model.ep_info_buffer or ()),
        "ep_success": list(model.ep_success_buffer or ()),
        "rng": _rng_state(model),
        "env": get_vec_state(model.env),
        # An agent with more than SB3's attributes, such as PG, has the environments' two methods.
        "agent": model.get_state() if hasattr(model, "get_state") else None,
    }


def _restore(model: BaseAlgorithm, path: Path, state: Tree) -> None:
    """Gives a model a state that :func:`_state` returned; checks before it changes anything."""
    if state.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {state.get('format')}, but this version reads {FORMAT}: finish the "
            "run with the version that began it"
        )
    check_settings(state["settings"], _settings(model), f"this {type(model).__name__}")
    tensors, optimizers = _torch_parts(model)
    assert model.env is not None
    if model._last_obs is None:
        model.env.reset()  # set_state needs it; and a later reset must not begin with the seed
    set_vec_state(model.env, state["env"])
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(state["weights"][name]))
    for name, optimizer in optimizers.items():
        _restore_optimizer(optimizer, state["optimizers"][name])
    if state["buffer"] is not None:
        _restore_buffer(model.replay_buffer, state["buffer"])  # type: ignore[attr-defined]
    for name, value in state["counters"].items():
        setattr(model, name, value)
    model._num_timesteps_at_start = model.num_timesteps  # of this process: the logged speed's
    model._last_obs = state["last_obs"]
    model._last_episode_starts = state["last_episode_starts"]
    model.ep_info_buffer = deque(state["ep_info"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(state["ep_success"], maxlen=model._stats_window_size)
    if state["agent"] is not None:
        model.set_state(state["agent"])  # type: ignore[attr-defined]
    _restore_rng(model, state["rng"])


def _torch_parts(
    model: BaseAlgorithm,
) -> tuple[dict[str, Tensor], dict[str, torch.optim.Optimizer]]:
    """The model's own tensors, each once even if two networks share it, and its optimisers."""
    tensors: dict[str, Tensor] = {}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    seen: set[int] = set()
    for part in model._get_torch_save_params()[0]:
        module = attrgetter(part)(model)
        if isinstance(module, torch.optim.Optimizer):
            optimizers[part] = module
            continue
        for name, tensor in module.state_dict().items():
            if tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                tensors[f"{part}.{name}"] = tensor
    return tensors, optimizers


def _optimizer_state(optimizer: torch.optim.Optimizer) -> Tree:
    return {
        "state": optimizer.state_dict()["state"],
        "lr": [group["lr"] for group in optimizer.param_groups],
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: Tree) -> None:
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(
        {
            "state": {
                int(i): {k: torch.from_numpy(v).clone() for k, v in of_parameter.items()}
                for i, of_parameter in saved["state"].items()
            },
            "param_groups": [{**g, "lr": lr} for g, lr in zip(groups, saved["lr"], strict=True)],
        }
    )


def _buffer_state(buffer: ReplayBuffer) -> Tree:
    """The part of a replay buffer that is in use."""
    n = buffer.buffer_size if buffer.full or buffer.optimize_memory_usage else buffer.pos
    rows = {name: array[:n] for name, array in _buffer_arrays(buffer).items()}
    return {"pos": buffer.pos, "full": buffer.full, "rows": rows}


def _restore_buffer(buffer: ReplayBuffer, saved: Tree) -> None:
    for name, array in _buffer_arrays(buffer).items():
        array[: len(saved["rows"][name])] = saved["rows"][name]
    buffer.pos, buffer.full = saved["pos"], saved["full"]


def _buffer_arrays(buffer: ReplayBuffer) -> dict[str, NDArray[Any]]:
    known = (ReplayBuffer, DictReplayBuffer, ItemReplayBuffer, DictItemReplayBuffer)
    if type(buffer) not in known:
        raise TypeError(
            f"a {type(buffer).__name__} may hold more than can be saved here: use one of "
            f"{[class_.__name__ for class_ in known]}"
        )
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in vars(buffer).items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, dict) and name != "obs_shape":
            arrays.update({f"{name}.{key}": array for key, array in value.items()})
    return arrays


def _rng_state(model: BaseAlgorithm) -> Tree:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if model.device.type == "cuda" else [],
        "action_space": model.action_space.np_random.bit_generator.state,
    }


def _restore_rng(model: BaseAlgorithm, saved: Tree) -> None:
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(torch.from_numpy(saved["torch"]))
    if saved["cuda"]:
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in saved["cuda"]])
    model.action_space.np_random.bit_generator.state = saved["action_space"]


def _settings(model: BaseAlgorithm) -> Tree:
    """What the model was made with, as far as it can be compared."""
    tensors, _ = _torch_parts(model)
    settings: Tree = {
        "algorithm": type(model).__name__,
        # A schedule is code; its values can be compared.
        "learning_rate": [float(model.lr_schedule(left)) for left in (1, 0.75, 0.5, 0.25, 0)],
        **{f"shape of {name}": list(tensor.shape) for name, tensor in tensors.items()},
    }
    for name, value in vars(model).items():
        if not name.startswith("_") and name not in NOT_SETTINGS:
            described = _describe(value)
            if described is not None:
                settings[name] = described
    return settings


def _describe(value: Any) -> Any:
    """Returns JSON that is equal for equal settings; None for what is no setting."""
    if isinstance(value, dict):
        return {str(key): _describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(item) for item in value]
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        return f"{value.dtype}{value.shape} {digest}"
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, torch.device):
        return value.type
    if isinstance(value, spaces.Space):
        return str(value)
    return value if isinstance(value, bool | int | float | str) else None
