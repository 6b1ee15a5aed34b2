"""The whole state of an SB3 agent in training, as plain data."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from enum import Enum
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from torch import Tensor

from ialp_agents.buffers import DictItemReplayBuffer, ItemReplayBuffer
from ialp_agents.saving.vec_state import get_vec_state, set_vec_state
from recsim_envs.state import State, check_settings

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


def get_agent_state(model: BaseAlgorithm) -> State:
    """Returns all that decides how the training goes on.

    Args:
        model: an algorithm that keeps its networks and optimisers where SB3's ``save`` finds them,
            and anything else in SB3's own attributes; or that has ``get_state`` and ``set_state``
            of its own for the rest, as PG has.

    Raises:
        TypeError: if the state of the environment or the replay buffer cannot be had.
    """
    tensors, optimizers = _torch_parts(model)
    buffer = getattr(model, "replay_buffer", None)
    return {
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
        "agent": model.get_state() if hasattr(model, "get_state") else None,
    }


def set_agent_state(model: BaseAlgorithm, state: State) -> None:
    """Takes back what :func:`get_agent_state` returned.

    Args:
        model: made with the same arguments, on an environment made with the same arguments.
        state: what :func:`get_agent_state` returned; lists may stand for tuples, and arrays for
            tensors.

    Raises:
        ValueError: if model or environment were made otherwise; the message names both values. The
            model is then as it was.
    """
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


def _optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    return {
        "state": optimizer.state_dict()["state"],
        "lr": [group["lr"] for group in optimizer.param_groups],
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: State) -> None:
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


def _buffer_state(buffer: ReplayBuffer) -> State:
    """The part of a replay buffer that is in use."""
    n = buffer.buffer_size if buffer.full or buffer.optimize_memory_usage else buffer.pos
    rows = {name: array[:n] for name, array in _buffer_arrays(buffer).items()}
    return {"pos": buffer.pos, "full": buffer.full, "rows": rows}


def _restore_buffer(buffer: ReplayBuffer, saved: State) -> None:
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


def _rng_state(model: BaseAlgorithm) -> State:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if model.device.type == "cuda" else [],
        "action_space": model.action_space.np_random.bit_generator.state,
    }


def _restore_rng(model: BaseAlgorithm, saved: State) -> None:
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(torch.from_numpy(saved["torch"]))
    if saved["cuda"]:
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in saved["cuda"]])
    model.action_space.np_random.bit_generator.state = saved["action_space"]


def _settings(model: BaseAlgorithm) -> State:
    """What the model was made with, as far as it can be compared."""
    tensors, _ = _torch_parts(model)
    settings: State = {
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
