"""One description of an agent: what it has learned, and where its training stands.

A zip holds the first part, a checkpoint both; a pre-trained policy is a piece of the first.
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
from ialp_agents.saving.arguments import arguments_of, described
from ialp_agents.saving.vec_state import get_vec_state, set_vec_state
from recsim_envs.state import State, check_settings
from recsim_envs.trees import Tree

LEARNED = dict.fromkeys(("made_on", "arguments", "counters", "weights", "optimizer"), dict)
"""The entries of :func:`learned` that are not plain values, and their type."""
COUNTERS = ["num_timesteps", "_total_timesteps", "_current_progress_remaining", "_episode_num"]
COUNTERS += ["_n_updates"]
BUFFERS = (ReplayBuffer, DictReplayBuffer, ItemReplayBuffer, DictItemReplayBuffer)


@runtime_checkable
class HasState(Protocol):
    """An algorithm that keeps more than SB3's attributes between two rollouts, as plain data."""

    def get_state(self) -> State: ...  # noqa: D102
    def set_state(self, state: State) -> None: ...  # noqa: D102


def learned(model: BaseAlgorithm) -> Tree:
    """Returns what an agent was made with, and what it has learned.

    Raises:
        TypeError: for an algorithm that does not say what it was made with.
    """
    optimizer = model.policy.optimizer
    return {
        "made_on": {
            "algorithm": type(model).__name__,
            "n_envs": model.n_envs,
            "observation_space": str(model.observation_space),
            "action_space": str(model.action_space),
            "device": model.device.type,
        },
        "arguments": arguments_of(model),
        "counters": described({name: attrgetter(name)(model) for name in _counters(model)}),
        "weights": _weights(model),
        "optimizer": {
            "class": type(optimizer).__name__,
            "state": optimizer.state_dict()["state"],
            "lr": [group["lr"] for group in optimizer.param_groups],
        },
    }


def restore_learned(model: BaseAlgorithm, saved: Tree, where: object) -> None:
    """Takes back weights, optimiser and counters, from whoever made the file ``where``.

    A model with another class of optimiser than the saved one starts that anew.

    Raises:
        ValueError: for other shapes, and counters that are no numbers.
    """
    copy_weights(_weights(model), saved["weights"], where)
    try:
        if saved["optimizer"]["class"] == type(model.policy.optimizer).__name__:
            _restore_optimizer(model.policy.optimizer, saved["optimizer"])
        counters = {name: saved["counters"][name] for name in _counters(model)}
        if not all(isinstance(value, int | float) for value in counters.values()):
            raise ValueError(f"{counters} are no numbers")
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{where} is damaged, in optimiser or counters: {error!r}") from error
    for name, value in counters.items():
        setattr(model, name, value)


def in_training(model: BaseAlgorithm) -> Tree:
    """Returns all else that decides how a training goes on, of SB3's attributes and HasState's.

    Raises:
        TypeError: if the state of the environment or the replay buffer cannot be had.
    """
    return {
        "buffer": _buffer_state(model) if isinstance(model, OffPolicyAlgorithm) else None,
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
    """Puts a model where :func:`learned` and :func:`in_training` found one.

    Raises:
        ValueError: if model or environment were made otherwise; the message names both values. The
            model is then as it was.
    """
    check_settings(_settings(saved), _settings(learned(model)), f"this {type(model).__name__}")
    assert model.env is not None
    if model._last_obs is None:
        model.env.reset()  # set_state needs it; and a later reset must not begin with the seed
    set_vec_state(model.env, state["env"])
    restore_learned(model, saved, where)
    if isinstance(model, OffPolicyAlgorithm):
        buffer, kept = model.replay_buffer, state["buffer"]
        assert buffer is not None
        for name, array in _rows(buffer).items():
            array[: len(kept["rows"][name])] = kept["rows"][name]
        buffer.pos, buffer.full = kept["pos"], kept["full"]
    model._num_timesteps_at_start = model.num_timesteps  # of this process: the logged speed's
    model._last_obs = state["last_obs"]
    model._last_episode_starts = state["last_episode_starts"]
    model.ep_info_buffer = deque(state["ep_info"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(state["ep_success"], maxlen=model._stats_window_size)
    if isinstance(model, HasState):
        model.set_state(state["agent"])
    rng = state["rng"]
    random.setstate((rng["python"][0], tuple(rng["python"][1]), rng["python"][2]))
    np.random.set_state(rng["numpy"])
    torch.set_rng_state(torch.from_numpy(rng["torch"]))
    if rng["cuda"]:
        torch.cuda.set_rng_state_all([torch.from_numpy(words) for words in rng["cuda"]])
    model.action_space.np_random.bit_generator.state = rng["action_space"]


@torch.no_grad()
def copy_weights(weights: dict[str, Tensor], saved: dict[str, Any], where: object) -> None:
    """Copies values of the same names and shapes; ValueError, before any is, if they are not."""
    own, theirs = _shapes(weights), _shapes(saved)
    for name in [*own, *theirs]:
        if own.get(name) != theirs.get(name):
            raise ValueError(
                f"{where}: {name} has shape {theirs.get(name)}, but this environment and these "
                f"arguments make it {own.get(name)}: use the catalogue and the policy_kwargs that "
                "it was saved with"
            )
    for name in weights:
        if not torch.as_tensor(saved[name]).isfinite().all():
            raise ValueError(f"{where}: {name} holds NaN or infinity: train new weights")
    for name, tensor in weights.items():
        tensor.copy_(torch.as_tensor(saved[name]))


def _counters(model: BaseAlgorithm) -> list[str]:
    return COUNTERS + (["_n_calls", "exploration_rate"] if isinstance(model, DQN) else [])


def _weights(model: BaseAlgorithm) -> dict[str, Tensor]:
    """The model's own tensors, each once even if two networks share it."""
    tensors: dict[int, tuple[str, Tensor]] = {}
    for part in model._get_torch_save_params()[0]:
        module = attrgetter(part)(model)
        if isinstance(module, nn.Module):
            for name, tensor in module.state_dict().items():
                tensors.setdefault(tensor.data_ptr(), (f"{part}.{name}", tensor))
    return dict(tensors.values())


def _shapes(arrays: dict[str, Any]) -> dict[str, list[int] | None]:
    is_array = (np.ndarray, Tensor)
    return {k: list(v.shape) if isinstance(v, is_array) else None for k, v in arrays.items()}


def _settings(saved: Tree) -> Tree:
    """What must be equal for a run to go on."""
    shapes = {f"shape of {name}": shape for name, shape in _shapes(saved["weights"]).items()}
    settings = {**saved["made_on"], **shapes, **saved["arguments"]}
    return {name: value for name, value in settings.items() if name != "verbose"}


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: State) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, State] = {int(i): {} for i in saved["state"]}
    for i, moments in state.items():
        shape = parameters[i].shape
        for name, value in saved["state"][str(i)].items():
            moments[name] = torch.tensor(value) if isinstance(value, np.ndarray) else value
            # Fused kernels trust the shapes. Adam's steps, and the like, are scalars.
            if np.shape(value) != shape and (np.ndim(value) or "exp_avg" in name):
                raise ValueError(f"{name} has shape {np.shape(value)} for a parameter of {shape}")
    groups = optimizer.state_dict()["param_groups"]
    groups = [{**group, "lr": float(lr)} for group, lr in zip(groups, saved["lr"], strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _buffer_state(model: OffPolicyAlgorithm) -> State:
    """The part of the replay buffer that is in use."""
    buffer = model.replay_buffer
    if type(buffer) not in BUFFERS:
        raise TypeError(
            f"a {type(buffer).__name__} may hold more than can be saved here: use one of "
            f"{[class_.__name__ for class_ in BUFFERS]}"
        )
    assert buffer is not None
    n = buffer.buffer_size if buffer.full or buffer.optimize_memory_usage else buffer.pos
    rows = {name: array[:n] for name, array in _rows(buffer).items()}
    return {"pos": buffer.pos, "full": buffer.full, "rows": rows}


def _rows(buffer: ReplayBuffer) -> dict[str, NDArray[Any]]:
    parts: dict[str, Any] = {"obs": buffer.observations, "actions": buffer.actions}
    parts |= {"rewards": buffer.rewards, "dones": buffer.dones, "timeouts": buffer.timeouts}
    if not buffer.optimize_memory_usage:
        parts["next_obs"] = buffer.next_observations
    as_dicts = {k: part if isinstance(part, dict) else {"": part} for k, part in parts.items()}
    return {f"{k}.{key}": rows for k, part in as_dicts.items() for key, rows in part.items()}
