"""SB3's ``save`` and ``load`` without pickles: a zip from a stranger is read, never run.

SB3 pickles into a zip whatever JSON can't hold, and unpickles it on load, which runs any code that
somebody put there. Here the zip holds one safetensors file; what that can't hold comes from the
arguments of ``load``.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import get_system_info

from ialp_agents.saving.agent import LEARNED, learned, restore_learned
from ialp_agents.saving.arguments import NOT_PLAIN, marks, merged
from ialp_agents.saving.catalogue import catalogue_of, check_catalogue, make
from recsim_envs.errors import DamagedFileError
from recsim_envs.files import most_unpacked, write_whole
from recsim_envs.trees import Tree, from_bytes, to_bytes

SelfPlainZip = TypeVar("SelfPlainZip", bound="PlainZip")
File = str | Path | io.BufferedIOBase

FORMAT = 3
MEMBER = "agent.safetensors"
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
              RuntimeError, OverflowError, OSError, struct.error, ValueError)  # fmt: skip
"""What zipfile and its unpackers raise for a file that is damaged."""
CALLERS = {"env", "device", "tensorboard_log", "_init_setup_model"}
"""Arguments that no file decides (a stranger shall not say where logs are written)."""


class PlainZip(BaseAlgorithm):
    """Mixed in before an SB3 algorithm: its ``save`` and ``load``, safe with strangers' files.

    The zip holds networks, optimiser and arguments, see :func:`ialp_agents.saving.agent.learned`,
    but neither replay buffer nor users nor random numbers.
    """

    def save(
        self,
        path: File,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Writes weights, optimiser and arguments; a file of that name is replaced as a whole.

        Args:
            path: the file, in a folder that is made if missing; ``.zip`` is added if it has no
                suffix. Or an open one.
            exclude: names of arguments to leave out, which :meth:`load` then asks for. Code and
                arrays, such as a learning rate's schedule, always are.
            include: not supported: what is not written by itself needs a pickle.

        Raises:
            ValueError: if ``include`` is given.
        """
        if include is not None:
            raise ValueError(
                f"include={list(include)}: only plain values are saved, and those all are; leave "
                "it out"
            )
        tree = {"format": FORMAT, "catalogue": catalogue_of(self), **learned(self)}
        for name in tree["arguments"].keys() & set(exclude or ()):
            tree["arguments"][name] = {NOT_PLAIN: "excluded"}
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(MEMBER, to_bytes(tree))
        if isinstance(path, str | Path):
            file = Path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file if file.suffix else Path(f"{file}.zip"), content.getvalue())
        else:
            open_path(path, "w").write(content.getvalue())

    @classmethod
    def load(
        cls: type[SelfPlainZip],
        path: File,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfPlainZip:
        """Makes an agent on ``env`` with the weights and arguments of a zip; runs nothing in it.

        Args:
            path: what :meth:`save` wrote.
            env: an environment of the same catalogue; SB3 would take it from a pickle.
            device: "cpu", "cuda" or "auto".
            custom_objects: further arguments of the constructor, as ``kwargs``; and, as SB3 has
                them, ``lr_schedule``, which stands for a ``learning_rate`` that is not given, and
                the two spaces, which must be those of ``env``.
            print_system_info: whether to print this system's versions.
            force_reset: must be True: the last observations are not in the zip.
            **kwargs: arguments of the constructor. They go before the zip's, and must hold those
                that it can't; the error names them. So do the entries of ``policy_kwargs``, but
                for those that belong to the weights. ``tensorboard_log`` is never the zip's.

        Returns:
            The agent; :meth:`learn` continues with an empty replay buffer.

        Raises:
            FileNotFoundError: if there is no such file.
            TypeError: for a name that is no argument of the constructor.
            ValueError: if the file is none of this algorithm's, or one of SB3's with its pickles,
                or damaged; if its weights are of another catalogue or other ``policy_kwargs``, the
                message names both.
        """
        if env is None:
            raise ValueError("env=None: pass the environment, the zip holds only its sizes")
        if not force_reset:
            raise ValueError("force_reset=False: the zip holds no observations to go on from")
        if print_system_info:
            get_system_info()
        tree, given = _read(path, cls), {**(custom_objects or {}), **kwargs}
        own = {"observation_space": env.observation_space, "action_space": env.action_space}
        for name, space in own.items():
            if given.pop(name, space) != space:
                raise ValueError(f"{name} is not that of env, {space}: leave it out")
        schedule = given.pop("lr_schedule", None)
        if schedule is not None:
            given.setdefault("learning_rate", schedule)
        arguments = _arguments(tree["arguments"], given, path)
        catalogue, weights = tree["catalogue"], tree["weights"]
        model = make(cls, catalogue, weights, path, env=env, device=device, **arguments)
        restore_learned(model, tree, path)
        return model

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: torch.device | str = "auto"
    ) -> None:
        """Takes back what ``get_parameters`` returned, or what a zip has learned."""
        if isinstance(load_path_or_dict, dict):
            super().set_parameters(load_path_or_dict, exact_match, device)
            return
        tree = _read(load_path_or_dict, type(self))
        check_catalogue(tree["catalogue"], self, load_path_or_dict)
        restore_learned(self, tree, load_path_or_dict)


def _arguments(saved: Tree, given: dict[str, Any], path: object) -> dict[str, Any]:
    """Returns the constructor's arguments, the caller's before the file's."""
    if CALLERS & saved.keys() or not isinstance(saved.get("policy_kwargs"), dict):
        raise DamagedFileError(f"{path} holds arguments that save() does not write: {saved}")
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}  # train_freq
    arguments = plain | given
    if "policy_kwargs" in given:
        policy_kwargs = given["policy_kwargs"] or {}
        arguments["policy_kwargs"] = merged(saved["policy_kwargs"], policy_kwargs, path)
    missing = sorted(mark for name, value in arguments.items() for mark in marks(value, name))
    if missing:
        names = sorted({mark.partition(".")[0] for mark in missing})
        raise ValueError(
            f"{path} holds no plain value of {missing}: pass "
            f"{', '.join(f'{name}=...' for name in names)} to load()"
        )
    return arguments


def algorithm_in(path: File) -> str:
    """The name of the class that saved a zip, as the zip says it: compare it, believe nothing.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no zip of this package, or damaged.
    """
    return str(_read_any(path)["made_on"].get("algorithm"))


def _read(path: Any, cls: type[BaseAlgorithm]) -> Tree:
    """Reads the one member of a zip, if it is of that class."""
    tree = _read_any(path)
    if tree["made_on"].get("algorithm") != cls.__name__:
        raise ValueError(
            f"{path} holds a {tree['made_on'].get('algorithm')}, but this is {cls.__name__}: use "
            "the class that saved it"
        )
    return tree


def _read_any(path: Any) -> Tree:
    """Reads the one member of a zip."""
    file = open_path(path, "r", suffix="zip")
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            member = members.get(MEMBER)
            fits = member is not None and member.file_size <= most_unpacked(member.compress_size)
            content = archive.read(MEMBER) if fits else b""
    except ZIP_ERRORS as error:
        raise DamagedFileError(f"{path} is not a whole zip ({error}): save it again") from error
    finally:
        if file is not path:
            file.close()
    if member is None:
        raise ValueError(
            f"{path} holds {list(members)[:10]} in place of {MEMBER}; SB3's own zips hold pickles, "
            "which can run code: pass a zip that this package's save() wrote"
        )
    if not fits:
        raise DamagedFileError(
            f"{path} says that it unpacks to {member.file_size} bytes, which no zip of recsim does"
        )
    return from_bytes(content, path, FORMAT, {"catalogue": dict, **LEARNED})
