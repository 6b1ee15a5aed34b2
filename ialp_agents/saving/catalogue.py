"""What items an agent's weights are for, checked before an agent is built for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from stable_baselines3.common.base_class import BaseAlgorithm

from ialp_agents.extractor import read_space

Algorithm = TypeVar("Algorithm", bound=BaseAlgorithm)


@runtime_checkable
class Data(Protocol):
    """What is asked of an environment's ``dataset``."""

    name: str
    hash: str


@dataclass(frozen=True)
class Catalogue:
    """What a policy's weights can be used for.

    Attributes:
        n_items: catalogue size.
        n_users: users named by the observations, 0 if none.
        history_length: H, the longest session seen.
        dataset: name of the data, None if the environment does not say.
        hash: of the data's content, None if the environment does not say.
    """

    n_items: int
    n_users: int
    history_length: int
    dataset: str | None = None
    hash: str | None = None

    @classmethod
    def of(cls, model: BaseAlgorithm) -> Catalogue:
        """Reads it from a model's spaces and environment; its networks need not be built yet."""
        history, n_users = read_space(model.observation_space)
        sizes = (int(history.high.max()), n_users, history.shape[0])
        env = model.env
        if env is not None and env.has_attr("dataset"):  # a toy may have none
            (dataset,) = env.get_attr("dataset", indices=[0])
            if isinstance(dataset, Data):
                return cls(*sizes, dataset=dataset.name, hash=dataset.hash)
        return cls(*sizes)

    def fits(self, other: Catalogue) -> bool:
        """Whether the sizes are equal and, as far as both are known, the data too."""
        mine, others = asdict(self), asdict(other)
        return all(
            mine[key] == others[key]
            or (key in ("dataset", "hash") and None in (mine[key], others[key]))
            for key in mine
        )


def make(
    cls: type[Algorithm], catalogue: dict[str, Any], where: object, **arguments: Any
) -> Algorithm:
    """Makes a model for saved weights; its buffer and networks only once the catalogue fits.

    Args:
        cls: the algorithm.
        catalogue: of the weights, as in their file.
        where: of the weights, for errors.
        **arguments: of the constructor.

    Raises:
        ValueError: if the weights are of another catalogue; the message names both.
    """
    model = cls(_init_setup_model=False, **arguments)
    check_catalogue(catalogue, model, where)
    model._setup_model()
    return model


def check_catalogue(catalogue: dict[str, Any], model: BaseAlgorithm, where: object) -> None:
    """Raises ValueError, naming both, if the catalogue in a file is not the model's."""
    try:
        saved = Catalogue(**catalogue)
    except TypeError as error:
        raise ValueError(f"{where}: {catalogue!r} is no catalogue ({error})") from error
    own = Catalogue.of(model)
    if not saved.fits(own):
        raise ValueError(
            f"the weights in {where} belong to {saved}, but the environment has {own}: use the "
            "environment they were trained for, or train new ones"
        )
