"""Policies on disk: safetensors and JSON, nothing that runs code when it is read.

A folder holds ``config.json`` and the weights file that it names. The weights' name contains the
hash of their content, so that replacing ``config.json``, which is atomic, is the moment at which
new weights take the place of the old ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
from safetensors import SafetensorError
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from ialp_agents.extractor import read_space
from recsim_envs.files import content_hash, write_whole

if TYPE_CHECKING:
    from ialp_agents.ialp import IALP
    from ialp_agents.policies import SASRecPolicy

FORMAT = 1


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
        """Reads it from an agent's policy (its :class:`SASRecExtractor`) and environment."""
        history, n_users = read_space(model.observation_space)
        sizes = (int(history.high.max()), n_users, history.shape[0])
        assert model.env is not None
        (env,) = model.env.get_attr("unwrapped", indices=[0])
        dataset = getattr(env, "dataset", None)  # a toy may have none
        if dataset is None:
            return cls(*sizes)
        return cls(*sizes, dataset=dataset.name, hash=dataset.hash)

    @classmethod
    def read(cls, values: Any, path: object) -> Catalogue:
        """Makes it from a file's JSON; ValueError, naming ``path``, if that is something else."""
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{path}: {values!r} is no catalogue ({error})") from error

    def fits(self, other: Catalogue) -> bool:
        """Whether the sizes are equal and, as far as both are known, the data too."""
        mine, others = asdict(self), asdict(other)
        return all(
            mine[key] == others[key]
            or (key in ("dataset", "hash") and None in (mine[key], others[key]))
            for key in mine
        )


@dataclass(frozen=True)
class Pretrained:
    """Weights read from a folder.

    Attributes:
        folder: where they were read.
        catalogue: what they belong to.
        policy_kwargs: the constructor arguments of the policy they fit.
        weights: the state dict of a :class:`SASRecPolicy`.
    """

    folder: Path
    catalogue: Catalogue
    policy_kwargs: dict[str, Any]
    weights: dict[str, Tensor]

    def arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Adds to an algorithm's arguments those that the weights decide or make needless."""
        policy_kwargs = {**kwargs.get("policy_kwargs", {}), **self.policy_kwargs}
        return {"learning_starts": 0, **kwargs, "policy_kwargs": policy_kwargs}

    def check_belongs_to(self, model: IALP) -> None:
        """Raises ValueError if the weights belong to another catalogue than the model's."""
        check_catalogue(self.catalogue, model, self.folder)


def check_catalogue(saved: Catalogue, model: BaseAlgorithm, path: object) -> None:
    """Raises ValueError, naming both, if ``saved`` of ``path`` is not the model's catalogue."""
    other = Catalogue.of(model)
    if not saved.fits(other):
        raise ValueError(
            f"the weights in {path} belong to {saved}, but the environment has {other}: use the "
            "environment they were trained for, or train new ones"
        )


def save(model: IALP, policy: SASRecPolicy, folder: Path) -> None:
    """Writes a policy's weights and their description into ``folder``."""
    learner = {name: weight.contiguous() for name, weight in policy.state_dict().items()}
    content = safetensors.torch.save(learner)
    weights = folder / f"weights-{content_hash(content)}.safetensors"
    config = {
        "format": FORMAT,
        "algorithm": type(model).__name__,
        "num_timesteps": model.num_timesteps,
        "catalogue": asdict(Catalogue.of(model)),
        "policy_kwargs": {
            "tie_weights": policy.tie_weights,
            "mask_history": policy.mask_history,
            # Not item_features: where the item vectors started is in the weights by now.
            "features_extractor_kwargs": policy.features_extractor.architecture,
        },
        "weights": weights.name,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(weights, content)
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    for old in folder.glob("weights-*.safetensors"):
        if old != weights:
            old.unlink()


def load(folder: Path) -> Pretrained:
    """Reads what :func:`save` wrote: JSON and safetensors, whatever else the files hold.

    Raises:
        FileNotFoundError: if the folder holds no pre-trained policy.
        ValueError: if it was written by another version of this format, or by something else.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: pass a folder that save_pretrained() wrote")
    try:
        config = json.loads(file.read_text())
        if config["format"] != FORMAT:
            raise ValueError(
                f"{folder} has format {config['format']}, but this version reads {FORMAT}: "
                "save the policy again with this version"
            )
        return Pretrained(
            folder=folder,
            catalogue=Catalogue.read(config["catalogue"], file),
            policy_kwargs=dict(config["policy_kwargs"]),
            weights=_read_weights(folder, config["weights"]),
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is not what save_pretrained() wrote ({error!r}): save the policy again"
        ) from error


def _read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    if Path(name).name != name or not (folder / name).is_file():
        raise ValueError(
            f"{folder / 'config.json'} names the weights {name!r}: they must be a file beside it"
        )
    try:
        return safetensors.torch.load_file(folder / name)
    except SafetensorError as error:
        raise ValueError(
            f"{folder / name} holds no safetensors ({error}): save the policy again"
        ) from error
