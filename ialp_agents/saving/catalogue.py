"""What an agent's weights are for, and how large; checked before an agent is built for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from ialp_agents.extractor import read_space
from recsim_envs.trees import Tree

Algorithm = TypeVar("Algorithm", bound=BaseAlgorithm)


@runtime_checkable
class Data(Protocol):
    """What is asked of an environment's ``dataset``."""

    name: str
    hash: str


def catalogue_of(model: BaseAlgorithm) -> Tree:
    """Reads a model's spaces and environment; its networks need not be built yet.

    Returns:
        ``n_items``; ``n_users`` named by the observations, 0 if none; ``history_length``; name and
        content hash of the data as ``dataset`` and ``hash``, None if the environment has no such.
    """
    history, n_users = read_space(model.observation_space)
    dataset = None
    if model.env is not None and model.env.has_attr("dataset"):
        (dataset,) = model.env.get_attr("dataset", indices=[0])
    return {
        "n_items": int(history.high.max()),
        "n_users": n_users,
        "history_length": history.shape[0],
        "dataset": dataset.name if isinstance(dataset, Data) else None,
        "hash": dataset.hash if isinstance(dataset, Data) else None,
    }


def check_catalogue(saved: Tree, model: BaseAlgorithm, where: object) -> None:
    """Raises ValueError, naming both, unless the catalogue of ``where`` is the model's."""
    own = catalogue_of(model)
    for name in own.keys() | saved.keys():
        pair = (saved.get(name), own.get(name))
        unknown = name in ("dataset", "hash") and None in pair  # one of them does not say
        if pair[0] != pair[1] and not unknown:
            raise ValueError(
                f"the weights in {where} belong to {saved}, but the environment has {own}: use "
                "the environment they were trained for, or train new ones"
            )


def check_size(weights: Tree, model: BaseAlgorithm, where: object) -> None:
    """Raises ValueError if the model's networks would be much larger than the saved weights.

    The arguments may be a stranger's, and networks are filled as they are built.
    """
    shapes = [np.shape(array) for array in weights.values()]
    stored = sum(int(np.prod(shape)) for shape in shapes)
    largest = max([len(shapes), *(size for shape in shapes for size in shape)])
    for name, value in _sizes(model.policy_kwargs):
        if value > largest:
            raise ValueError(
                f"policy_kwargs has {name}={value}, but no layer of the weights in {where} has "
                f"more than {largest}: use the policy_kwargs that they were saved with"
            )
    try:
        with torch.device("meta"):  # shapes without memory
            policy = model.policy_class(
                model.observation_space, model.action_space, lambda _: 0.0, **model.policy_kwargs
            )
    except NotImplementedError:  # SB3's own networks insist on memory
        return
    built = sum(parameter.numel() for parameter in policy.parameters())
    if built > 2 * stored:  # a mixture holds a policy twice
        raise ValueError(
            f"policy_kwargs={model.policy_kwargs} make {built} parameters, but {where} holds "
            f"{stored}: use the policy_kwargs that they were saved with"
        )


def make(
    cls: type[Algorithm], catalogue: Tree, weights: Tree, where: object, **arguments: Any
) -> Algorithm:
    """Makes a model for saved weights; its buffer and networks only once catalogue and size fit."""
    model = cls(_init_setup_model=False, **arguments)  # type: ignore[call-arg]  # all of SB3's do
    check_catalogue(catalogue, model, where)
    check_size(weights, model, where)
    model._setup_model()
    return model


def _sizes(arguments: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """All whole numbers in nested arguments, with their names."""
    if isinstance(arguments, dict):
        for key, value in arguments.items():
            if key != "optimizer_kwargs":
                yield from _sizes(value, key)
    elif isinstance(arguments, list | tuple):
        for value in arguments:
            yield from _sizes(value, name)
    elif isinstance(arguments, int):
        yield name, arguments
