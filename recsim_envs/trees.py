"""Trees on disk, in files that run no code when they are read.

A *tree* is nested dicts and lists of arrays, numbers, strings, booleans and None. It becomes one
safetensors file: the arrays are its tensors, the rest is JSON in its header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from torch import Tensor

from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import parse_json, parse_tensors, require_fields

Tree = dict[str, Any]
# The only key of the dict that stands in the JSON for an array; its value names the tensor.
ARRAY = "$array"


def to_bytes(tree: Tree) -> bytes:
    """Returns a tree as the content of a safetensors file.

    Raises:
        TypeError: for a value that is none of a tree's; the message says where it is.
    """
    arrays: dict[str, NDArray[Any]] = {}
    header = json.dumps(_without_arrays(tree, "", arrays))
    # One entry, for the library writes several in any order, and equal trees are equal files.
    about = {"tree": f"{_check(header, arrays)} {header}"}
    content: bytes = safetensors.numpy.save(arrays, metadata=about)
    return content


def from_bytes(content: bytes, where: object, version: int, kinds: Mapping[str, type]) -> Tree:
    """Reads what :func:`to_bytes` made; tuples come back as lists, tensors as arrays.

    Args:
        content: of the file.
        where: the file's name, for errors.
        version: what the entry ``format`` must be.
        kinds: the types that other entries must have.

    Raises:
        DamagedFileError: if it is something else, or was changed.
        ValueError: if it is of another version.
    """
    # torch wants arrays that can be written to; a copy only where the library's can't be.
    loaded = parse_tensors(content, where).items()
    arrays = {name: np.require(array, requirements="W") for name, array in loaded}
    # The library gives the header's own entries only of files: 8 bytes of length, then JSON.
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip(), where)
    about = header.get("__metadata__")
    if not isinstance(about, dict) or not isinstance(about.get("tree"), str):
        raise DamagedFileError(f"{where} is not a file of this kind: it holds no tree")
    check, _, text = about["tree"].partition(" ")
    if text == "" or check[:1] == "{":  # format 2 had no hash
        check, text = "", about["tree"]
    plain = parse_json(text.encode(), where, finite=False)
    found = plain.get("format")
    if found != version:
        raise DataError(
            f"{where} has format {str(found)[:20]}, but this version reads {version}: use the "
            "version that wrote it, or save it again with this one"
        )
    if check != _check(text, arrays):
        raise DamagedFileError(f"{where} is damaged: its content has not the hash in it")
    try:
        tree: Tree = _with_arrays(plain, arrays)
    except (LookupError, TypeError) as error:
        raise DamagedFileError(f"{where} is damaged: it names a tensor {error}") from error
    require_fields(tree, kinds, where)
    return tree


def _check(header: str, arrays: dict[str, NDArray[Any]]) -> str:
    """The hash of all that a file says."""
    digest = hashlib.sha256(header.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\0{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


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
