"""Trees on disk, in files that run no code when they are read.

A *tree* is nested dicts and lists of arrays, numbers, strings, booleans and None. It becomes one
safetensors file: the arrays are its tensors, the rest is JSON in its header.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from recsim_envs.files import content_hash, write_whole

Tree = dict[str, Any]
# The only key of the dict that stands in the JSON for an array; its value names the tensor.
ARRAY = "$array"


class DamagedFileError(Exception):
    """A file whose content is not what was written into it."""


def write_tree(folder: Path, stem: str, tree: Tree) -> Path:
    """Writes a tree as ``{stem}-{hash of the content}.safetensors`` and returns the path.

    Raises:
        TypeError: for a value that is none of a tree's; the message says where it is.
    """
    arrays: dict[str, NDArray[Any]] = {}
    header = json.dumps(_without_arrays(tree, "", arrays))
    content = safetensors.numpy.save(arrays, metadata={"tree": header})
    path = folder / f"{stem}-{content_hash(content)}.safetensors"
    write_whole(path, content)
    return path


def read_tree(path: Path) -> Tree:
    """Reads what :func:`write_tree` wrote; tuples come back as lists, tensors as arrays.

    Raises:
        DamagedFileError: if the content is not the one that the file's name was made from.
    """
    found, expected = content_hash(path.read_bytes()), path.stem.rpartition("-")[2]
    if found != expected:
        raise DamagedFileError(
            f"{path} is damaged: its content has the hash {found}, but its name says {expected}"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            tree: Tree = _with_arrays(json.loads(file.metadata()["tree"]), arrays)
    except (safetensors.SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DamagedFileError(f"{path} is not a file of this kind: {error}") from error
    return tree


def _without_arrays(value: Any, where: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """Returns the JSON of ``value``, and moves its arrays into ``arrays``."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        arrays[where] = np.asarray(value)
        return {ARRAY: where}
    if isinstance(value, dict):
        return {str(k): _without_arrays(v, f"{where}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(v, f"{where}/{i}", arrays) for i, v in enumerate(value)]
    # Not np.str_ and the like, which are strings by inheritance.
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{where} is {value!r}, a {type(value).__name__}, which cannot be stored: use an array of "
        "numbers, a dict, a list, a number, a string, a boolean or None"
    )


def _with_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Undoes :func:`_without_arrays`."""
    if isinstance(value, dict):
        if set(value) == {ARRAY}:
            return arrays[value[ARRAY]]
        return {k: _with_arrays(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_arrays(v, arrays) for v in value]
    return value
