"""A policy on its own: what one agent takes over from another, in memory or from a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from ialp_agents.policies import SASRecPolicy
from ialp_agents.saving.agent import copy_weights
from ialp_agents.saving.arguments import merged, policy_arguments
from ialp_agents.saving.catalogue import Algorithm, catalogue_of, make
from recsim_envs.files import read_whole, write_whole
from recsim_envs.trees import Tree, from_bytes, to_bytes

FORMAT = 3
FILE = "policy.safetensors"
KINDS = {"catalogue": dict, "policy_kwargs": dict, "weights": dict}


@dataclass(frozen=True)
class Pretrained:
    """A policy's weights, its arguments that belong to them, and their catalogue, from somewhere.

    Attributes:
        where: it comes from, for errors.
        tree: its description.
    """

    where: object
    tree: Tree

    @classmethod
    def of(cls, model: BaseAlgorithm, policy: SASRecPolicy) -> Pretrained:
        """Takes a policy from its model."""
        tree = {
            "format": FORMAT,
            "catalogue": catalogue_of(model),
            "policy_kwargs": policy_arguments(policy, {}),
            "weights": policy.state_dict(),
        }
        return cls(f"the {type(model).__name__} given", tree)

    @classmethod
    def read(cls, folder: Path) -> Pretrained:
        """Reads what :meth:`write` wrote, and nothing outside the folder.

        Raises:
            FileNotFoundError: if the folder holds no policy.
            ValueError: if its file was written by another version or something else, or is a link.
        """
        file = folder / FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is missing: pass a folder that save_pretrained() wrote"
            )
        return cls(file, from_bytes(read_whole(file), file, FORMAT, KINDS))

    def write(self, folder: Path) -> None:
        """Replaces the folder's policy, if it has one, as a whole."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, to_bytes(self.tree))

    def make(
        self, cls: type[Algorithm], policy: str, env: GymEnv, kwargs: dict[str, Any]
    ) -> Algorithm:
        """Makes an algorithm whose policy the weights fit, with the caller's arguments."""
        given = kwargs.get("policy_kwargs") or {}
        policy_kwargs = merged(self.tree["policy_kwargs"], given, self.where)
        arguments = {"learning_starts": 0, **kwargs, "policy_kwargs": policy_kwargs}
        catalogue, weights = self.tree["catalogue"], self.tree["weights"]
        return make(cls, catalogue, weights, self.where, policy=policy, env=env, **arguments)

    def give_to(self, policy: SASRecPolicy) -> None:
        """Copies the weights into a policy."""
        copy_weights(policy.state_dict(), self.tree["weights"], self.where)
