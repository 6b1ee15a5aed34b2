"""What items an agent's weights are for, checked before an agent is built for them."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

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


def make(cls: type[Algorithm], catalogue: Tree, where: object, **arguments: Any) -> Algorithm:
    """Makes a model for saved weights; its buffer and networks only once the catalogue fits."""
    model = cls(_init_setup_model=False, **arguments)  # type: ignore[call-arg]  # all of SB3's do
    check_catalogue(catalogue, model, where)
    model._setup_model()
    return model
