"""SB3's ``save`` and ``load`` without pickles: a zip from a stranger is read, never run.

SB3 pickles into a zip whatever JSON can't hold, and unpickles it on load, which runs any code that
somebody put there. Here nothing is pickled and nothing unpickled; what such a zip can't hold comes
from the arguments of ``load``.
"""

from __future__ import annotations

import inspect
import io
import json
import pickle
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import (
    is_json_serializable,
    load_from_zip_file,
    open_path,
    save_to_zip_file,
)
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from torch import Tensor

from ialp_agents.buffers import DictItemReplayBuffer, ItemReplayBuffer
from ialp_agents.saving.pretrained import Catalogue, check_catalogue

SelfPlainZip = TypeVar("SelfPlainZip", bound="PlainZip")

NOT_ARGUMENTS_OF_A_ZIP = {"policy", "env", "device", "tensorboard_log", "_init_setup_model"}
"""What the caller of ``load`` decides (a stranger shall not say where logs are written)."""
COUNTERS = ("num_timesteps", "_episode_num", "_n_updates")
ATTRIBUTES = {"stats_window_size": "_stats_window_size"}
"""Where SB3 keeps an argument under another name."""


class PlainZip(BaseAlgorithm):
    """Mixed in before an SB3 algorithm: its ``save`` and ``load``, safe with strangers' files.

    The zip has SB3's layout: the JSON file ``data`` and one ``.pth`` file of tensors a network and
    optimiser. ``data`` holds the constructor's arguments, of which there may be no ``*args`` and
    ``**kwargs``; so the networks, the optimiser and the settings are kept, but neither replay
    buffer nor users nor random numbers.
    """

    def save(
        self,
        path: str | Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Writes weights, optimiser and arguments.

        Args:
            path: the file; ``.zip`` is added if it has no suffix.
            exclude: names of arguments to leave out. Those that are no plain JSON, such as a
                learning rate's schedule, always are.
            include: not supported: what is not written by itself needs a pickle.

        Raises:
            ValueError: if ``include`` is given.
        """
        if include is not None:
            raise ValueError(
                f"include={list(include)}: only plain values are saved, and those all are; leave "
                "it out"
            )
        data: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        for name in _argument_names(type(self)):
            attribute = ATTRIBUTES.get(name, name)
            data[attribute] = _plain(name, getattr(self, attribute))
        for alias, policy_class in self.policy_aliases.items():
            if policy_class is self.policy_class:
                data["policy"] = alias
        if True:
            data["catalogue"] = asdict(Catalogue.of(self))
        left_out = set(exclude or ())
        data = {
            name: value
            for name, value in data.items()
            if name not in left_out and is_json_serializable(value)
        }
        save_to_zip_file(path, data=data, params=self.get_parameters())

    @classmethod
    def load(
        cls: type[SelfPlainZip],
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfPlainZip:
        """Makes an agent on ``env`` with the weights and arguments of a zip; runs nothing in it.

        Args:
            path: what :meth:`save` wrote. Of a zip with pickles only the rest is read.
            env: an environment of the same catalogue; SB3 would take it from a pickle.
            device: "cpu", "cuda" or "auto".
            custom_objects: further arguments of the constructor, as ``kwargs``.
            print_system_info: whether to print this system's versions and the saved ones.
            force_reset: must be True: the last observations are not in the zip.
            **kwargs: arguments of the constructor. They go before the zip's, and must hold those
                that it can't; the error names them. ``tensorboard_log`` is never the zip's.

        Returns:
            The agent; :meth:`learn` continues with an empty replay buffer.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is none of this algorithm's, holds more than tensors and plain
                JSON where they are needed, or has weights of another catalogue; the message names
                both catalogues.
        """
        if env is None:
            raise ValueError("env=None: pass the environment, the zip holds only its sizes")
        if not force_reset:
            raise ValueError("force_reset=False: the zip holds no observations to go on from")
        data, params = _read(path, device, print_system_info)
        names = ["policy", *_argument_names(cls)]
        plain = {key: value for key, value in data.items() if not _is_pickle(value)}
        stored = {name: ATTRIBUTES.get(name, name) for name in names}
        arguments = {name: plain[key] for name, key in stored.items() if key in plain}
        arguments |= (custom_objects or {}) | kwargs
        missing = set(names) - arguments.keys()
        if missing:
            raise ValueError(
                f"{path} holds no plain value of {sorted(missing)} (pickles are not read): pass "
                f"{', '.join(f'{name}=...' for name in sorted(missing))} to load()"
            )
        if isinstance(arguments.get("train_freq"), list):
            arguments["train_freq"] = tuple(arguments["train_freq"])
        model = cls(env=env, device=device, **arguments)
        if "catalogue" in data:
            check_catalogue(Catalogue.read(data["catalogue"], path), model, path)
        _check_shapes(params, model, path)
        model.set_parameters(params, device=device)
        _check_optimizer(model, path)
        for name in COUNTERS:
            setattr(model, name, int(plain.get(name, 0)))
        return model


def _argument_names(cls: type[BaseAlgorithm]) -> list[str]:
    parameters = inspect.signature(cls).parameters
    return [name for name in parameters if name not in NOT_ARGUMENTS_OF_A_ZIP]


def _plain(name: str, value: Any) -> Any:
    """Returns an argument in its plain form, if it has one."""
    if isinstance(value, TrainFreq):
        return [value.frequency, value.unit.value]
    if value in (ItemReplayBuffer, DictItemReplayBuffer):
        return None  # the default: the environment decides
    if name == "policy_kwargs" and value.get("features_extractor_kwargs"):
        extractor = dict(value["features_extractor_kwargs"])
        extractor.pop("item_features", None)  # where the vectors started is in the weights by now
        return {**value, "features_extractor_kwargs": extractor}
    return value


def _is_pickle(value: Any) -> bool:
    return isinstance(value, dict) and ":serialized:" in value


def _read(
    path: str | Path | io.BufferedIOBase, device: torch.device | str, print_system_info: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the zip's JSON and its tensors, without unpickling any other class."""
    file = open_path(path, "r", suffix="zip")
    try:
        # load_data=False skips the JSON with the pickles; tensors SB3 reads with weights_only=True.
        _, params, _ = load_from_zip_file(
            file, load_data=False, device=device, print_system_info=print_system_info
        )
        with zipfile.ZipFile(file) as archive:
            data = json.loads(archive.read("data"))
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds other things than tensors where weights belong; they could run code, so "
            "nothing was read: get the file from somebody you trust, saved by save()"
        ) from error
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} holds no JSON file 'data' ({error}): pass a zip that save() wrote"
        ) from error
    finally:
        if file is not path:
            file.close()
    if not isinstance(data, dict):
        raise ValueError(f"{path}: data is {data!r}, not a JSON object: pass a zip of save()")
    return data, params


def _check_shapes(params: dict[str, Any], model: BaseAlgorithm, path: Any) -> None:
    """Raises ValueError unless the networks are the model's, tensor by tensor."""
    expected = model.get_parameters()
    if params.keys() != expected.keys():
        raise ValueError(
            f"{path} holds {sorted(params)}, but {type(model).__name__} has {sorted(expected)}: "
            "load it with the class that saved it"
        )
    for network in expected.keys() - {"policy.optimizer"}:
        saved, own = _shapes(params[network]), _shapes(expected[network])
        for name in sorted(saved.keys() | own.keys()):
            if saved.get(name) != own.get(name):
                raise ValueError(
                    f"{path}: {network}.{name} has shape {saved.get(name)}, but this environment "
                    f"and these arguments make it {own.get(name)}: use the catalogue and the "
                    "policy_kwargs that it was saved with"
                )


def _shapes(weights: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(weights, dict):
        return {}
    return {k: tuple(v.shape) if isinstance(v, Tensor) else (-1,) for k, v in weights.items()}


def _check_optimizer(model: BaseAlgorithm, path: Any) -> None:
    """Raises ValueError for moments of other shapes: fused kernels trust them."""
    for parameter, state in model.policy.optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(
                    f"{path}: the optimiser's {name} has shape {tuple(value.shape)} for a "
                    f"parameter of shape {tuple(parameter.shape)}: the file is damaged"
                )
