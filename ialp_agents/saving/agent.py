"""One description of an agent: what it has learned, and where its training stands.

A zip holds the first part, a checkpoint both; :mod:`ialp_agents.saving.pretrained` writes of the
first part one policy.
"""

from __future__ import annotations

import random
from collections import deque
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor, nn

from ialp_agents.buffers import DictItemReplayBuffer, ItemReplayBuffer
from ialp_agents.saving.arguments import arguments_of
from ialp_agents.saving.files import Tree
from ialp_agents.saving.vec_state import get_vec_state, set_vec_state
from recsim_envs.state import State, check_settings

COUNTERS = ("num_timesteps", "_total_timesteps", "_current_progress_remaining", "_episode_num",
            "_n_updates")  # fmt: skip
DQN_COUNTERS = (*COUNTERS, "_n_calls", "exploration_rate")
LEARNED = {"algorithm": str, "arguments": dict, "counters": dict, "weights": dict,
           "optimizer": dict}  # fmt: skip
"""The entries of :func:`learned`."""


@runtime_checkable
class HasState(Protocol):
    """An algorithm that keeps more than SB3's attributes between two rollouts."""

    def get_state(self) -> State:
        """Returns it as plain data."""

    def set_state(self, state: State) -> None:
        """Takes it back."""


def learned(model: BaseAlgorithm) -> Tree:
    """Returns what an agent was made with and has learned.

    Args:
        model: an algorithm that keeps its networks, and one optimiser, where SB3's ``save`` finds
            them.

    Raises:
        TypeError: for an algorithm that does not say what it was made with.
    """
    names = DQN_COUNTERS if isinstance(model, DQN) else COUNTERS
    optimizer = model.policy.optimizer
    return {
        "algorithm": type(model).__name__,
        "arguments": arguments_of(model),
        "counters": dict(zip(names, attrgetter(*names)(model), strict=True)),
        "weights": weights_of(model),
        "optimizer": {
            "class": type(optimizer).__name__,
            "state": optimizer.state_dict()["state"],
            "lr": [group["lr"] for group in optimizer.param_groups],
        },
    }


def restore_learned(model: BaseAlgorithm, saved: Tree, where: object) -> None:
    """Takes back weights, optimiser and counters of :func:`learned`, from whoever made the file.

    Args:
        model: made with the same arguments; if with another class of optimiser, that one starts
            anew.
        saved: with the entries ``LEARNED``; arrays may stand for tensors.
        where: it comes from, for errors.

    Raises:
        ValueError: for weights or moments of other shapes, and counters that are no numbers. The
            model is then as it was.
    """
    weights = weights_of(model)
    check_shapes(weights, saved["weights"], where)
    names = DQN_COUNTERS if isinstance(model, DQN) else COUNTERS
    for name in names:
        if not isinstance(saved["counters"].get(name), int | float):
            raise ValueError(f"{where}: {name}={saved['counters'].get(name)!r} is no number")
    optimizer = model.policy.optimizer
    if saved["optimizer"].get("class") == type(optimizer).__name__:
        _restore_optimizer(optimizer, saved["optimizer"], where)
    copy_weights(weights, saved["weights"])
    for name in names:
        setattr(model, name, saved["counters"][name])


def in_training(model: BaseAlgorithm) -> Tree:
    """Returns all else that decides how a training goes on.

    Args:
        model: one that keeps this in SB3's own attributes, or has ``get_state`` and ``set_state``
            for the rest.

    Raises:
        TypeError: if the state of the environment or the replay buffer cannot be had.
    """
    buffer = model.replay_buffer if isinstance(model, OffPolicyAlgorithm) else None
    return {
        "made_on": _made_on(model),
        "buffer": None if buffer is None else _buffer_state(buffer),
        "last_obs": model._last_obs,
        "last_episode_starts": model._last_episode_starts,
        "ep_info": list(model.ep_info_buffer or ()),
        "ep_success": list(model.ep_success_buffer or ()),
        "rng": {
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if model.device.type == "cuda" else [],
            "action_space": model.action_space.np_random.bit_generator.state,
        },
        "env": get_vec_state(model.env),
        "agent": model.get_state() if isinstance(model, HasState) else None,
    }


def restore_all(model: BaseAlgorithm, saved: Tree, state: State, where: object) -> None:
    """Puts a model where the one was that :func:`learned` and :func:`in_training` described.

    Args:
        model: made with the same arguments, on an environment made with the same arguments.
        saved: of :func:`learned`.
        state: of :func:`in_training`.
        where: they come from, for errors.

    Raises:
        ValueError: if model or environment were made otherwise; the message names both values. The
            model is then as it was.
    """
    name = f"this {type(model).__name__}"
    check_settings(_settings(saved, state["made_on"]), _settings(learned(model), _made_on(model)),
                   name)  # fmt: skip
    assert model.env is not None
    if model._last_obs is None:
        model.env.reset()  # set_state needs it; and a later reset must not begin with the seed
    set_vec_state(model.env, state["env"])
    restore_learned(model, saved, where)
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        for rows, array in _rows(model.replay_buffer).items():
            array[: len(state["buffer"]["rows"][rows])] = state["buffer"]["rows"][rows]
        model.replay_buffer.pos = state["buffer"]["pos"]
        model.replay_buffer.full = state["buffer"]["full"]
    model._num_timesteps_at_start = model.num_timesteps  # of this process: the logged speed's
    model._last_obs = state["last_obs"]
    model._last_episode_starts = state["last_episode_starts"]
    model.ep_info_buffer = deque(state["ep_info"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(state["ep_success"], maxlen=model._stats_window_size)
    if isinstance(model, HasState):
        model.set_state(state["agent"])
    _restore_rng(model, state["rng"])


def weights_of(model: BaseAlgorithm) -> dict[str, Tensor]:
    """Returns the model's own tensors, each once even if two networks share it."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for part in model._get_torch_save_params()[0]:
        module = attrgetter(part)(model)
        if isinstance(module, nn.Module):
            for name, tensor in module.state_dict().items():
                if tensor.data_ptr() not in seen:
                    seen.add(tensor.data_ptr())
                    tensors[f"{part}.{name}"] = tensor
    return tensors


def check_shapes(weights: dict[str, Tensor], saved: dict[str, Any], where: object) -> None:
    """Raises ValueError, naming the first that differs, unless ``saved`` holds such weights."""
    own, theirs = _shapes(weights), _shapes(saved)
    for name in [*own, *theirs]:
        if own.get(name) != theirs.get(name):
            raise ValueError(
                f"{where}: {name} has shape {theirs.get(name)}, but this environment and these "
                f"arguments make it {own.get(name)}: use the catalogue and the policy_kwargs that "
                "it was saved with"
            )


@torch.no_grad()
def copy_weights(weights: dict[str, Tensor], saved: dict[str, Any]) -> None:
    """Copies values of the same names and shapes into ``weights``."""
    for name, tensor in weights.items():
        tensor.copy_(torch.as_tensor(saved[name]))


def _shapes(arrays: dict[str, Any]) -> dict[str, list[int] | None]:
    return {
        name: list(array.shape) if isinstance(array, np.ndarray | Tensor) else None
        for name, array in arrays.items()
    }


def _settings(saved: Tree, made_on: Tree) -> Tree:
    """What must be equal for a run to go on, of a tree of :func:`learned`."""
    shapes = {f"shape of {name}": shape for name, shape in _shapes(saved["weights"]).items()}
    settings = {"algorithm": saved["algorithm"], **made_on, **shapes, **saved["arguments"]}
    return {name: value for name, value in settings.items() if name != "verbose"}


def _made_on(model: BaseAlgorithm) -> Tree:
    return {
        "n_envs": model.n_envs,
        "observation_space": str(model.observation_space),
        "action_space": str(model.action_space),
        "device": model.device.type,
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: State, where: object) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {int(i): _as_moments(parameters[int(i)], m, where) for i, m in saved["state"].items()}
    groups = optimizer.state_dict()["param_groups"]
    groups = [{**group, "lr": lr} for group, lr in zip(groups, saved["lr"], strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _as_moments(parameter: Tensor, saved: State, where: object) -> State:
    moments = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in saved.items()}
    for name, value in moments.items():
        # Fused kernels trust the shapes. Adam's steps, and the like, are scalars.
        is_scalar = isinstance(value, Tensor) and value.ndim == 0 and "exp_avg" not in name
        if isinstance(value, Tensor) and value.shape != parameter.shape and not is_scalar:
            raise ValueError(
                f"{where}: the optimiser's {name} has shape {tuple(value.shape)} for a parameter "
                f"of shape {tuple(parameter.shape)}: the file is damaged"
            )
    return moments


def _buffer_state(buffer: ReplayBuffer) -> State:
    """The part of a replay buffer that is in use."""
    n = buffer.buffer_size if buffer.full or buffer.optimize_memory_usage else buffer.pos
    rows = {name: array[:n] for name, array in _rows(buffer).items()}
    return {"pos": buffer.pos, "full": buffer.full, "rows": rows}


def _rows(buffer: ReplayBuffer) -> dict[str, NDArray[Any]]:
    known = (ReplayBuffer, DictReplayBuffer, ItemReplayBuffer, DictItemReplayBuffer)
    if type(buffer) not in known:
        raise TypeError(
            f"a {type(buffer).__name__} may hold more than can be saved here: use one of "
            f"{[class_.__name__ for class_ in known]}"
        )
    rows = {"actions": buffer.actions, "rewards": buffer.rewards, "dones": buffer.dones,
            "timeouts": buffer.timeouts}  # fmt: skip
    seen: dict[str, Any] = {"observations": buffer.observations}
    if not buffer.optimize_memory_usage:
        seen["next_observations"] = buffer.next_observations
    for name, value in seen.items():
        rows |= (
            {f"{name}.{key}": array for key, array in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return rows


def _restore_rng(model: BaseAlgorithm, saved: State) -> None:
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(torch.from_numpy(saved["torch"]))
    if saved["cuda"]:
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in saved["cuda"]])
    model.action_space.np_random.bit_generator.state = saved["action_space"]
