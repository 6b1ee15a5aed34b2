"""Writes recorded interactions as a Minari data set, which libraries of offline learning read."""

from __future__ import annotations

import os
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import recsim_envs  # noqa: F401  registers the environments
from llm_oracle.interactions import HISTORY, Interactions, Session
from llm_oracle.judge import NONE
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DataError
from recsim_envs.notices import logger

ITEMS = "items.csv"
"""The catalogue's file, beside Minari's own."""
REPLICA = "REPLICA: the items and their texts are synthetic and may be passed on."
REAL = (
    "REAL DATA: the item texts of {name!r} are in this data set. They belong to their publisher: "
    "pass it on only if the publisher's licence allows that."
)


def export_minari(interactions: Interactions, name: str) -> Path:
    """Writes a data set into Minari's folder, as a whole or not at all.

    Its actions are the items shown and its observations the environment's, so it belongs to the
    environment of users, which ``recover_environment()`` makes: as it was recorded, and with
    ``eval_env=True`` with the users of the test split, who leave. Each session is an episode of L
    steps. Its infos have L + 1 rows, of which the first is the reset's: ``item``, ``pick`` (index
    in the slate, -1 for none of them), ``slate`` (k ids) and ``text`` (of the item); there the
    ids are ``n_items``, the pick is -1 and the text empty. ``items.csv`` beside the data has the
    text of every item, row i that of action i; what all was made with is in the metadata, under
    "recsim".

    Args:
        interactions: what was recorded.
        name: the data set's Minari id, such as "my-shop/smollm2-v0".

    Returns:
        Its folder, in ``$MINARI_DATASETS_PATH``, by default ``~/.minari/datasets``.

    Raises:
        DataError: if the name is none or taken, the environment is not recsim's, or its data is not
            the recorded one any more.
        ModuleNotFoundError: if Minari, or what it writes with, is not installed.
    """
    try:
        import h5py  # noqa: F401  Minari imports these only once it writes
        import minari
        import PIL  # noqa: F401
        from minari.dataset.minari_storage import MinariStorage
        from minari.namespace import create_namespace, list_local_namespaces
        from minari.storage import get_dataset_path
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a Minari data set needs {error.name}: pip install 'recsim-ialp[minari]'"
        ) from error
    namespace = _namespace(name)
    folder: Path = get_dataset_path(name)
    _refuse_taken(folder, name)
    env = _make(interactions)
    dataset: Dataset = env.unwrapped.dataset  # type: ignore[attr-defined]  # all of recsim's do
    texts = dataset.items["text"].tolist()
    about = interactions.about
    licence = REPLICA if dataset.replica else REAL.format(name=dataset.name)
    judge = about["judge"]["name"]

    with tempfile.TemporaryDirectory(dir=get_dataset_path(), prefix=".recsim-") as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        storage = MinariStorage.new(
            made / "data",
            observation_space=env.observation_space,
            action_space=env.action_space,
            env_spec=env.spec,
        )
        storage.update_metadata(
            {
                "dataset_id": name,
                "minari_version": minari.__version__,
                "algorithm_name": f"pre-training with judge {judge}",
                "description": f"{about['env']}, data {dataset.name!r}, judge {judge}. {licence}",
                "eval_env_spec": _of_test_users(env).to_json(),
                "recsim": {**about, "licence": licence},
            }
        )
        storage.update_episodes(_episode(session, texts) for session in interactions.sessions())
        dataset.items[["item_id", "text"]].to_csv(made / "data" / ITEMS, index=False)
        if namespace is not None and namespace not in list_local_namespaces():
            create_namespace(namespace)
        try:
            made.rename(folder)
        except OSError:
            _refuse_taken(folder, name)  # by somebody who was faster
            raise
    if not dataset.replica:
        logger.warning(licence)
    return folder


def _namespace(name: str) -> str | None:
    """The part of a data set's id before its last "/"; None if it has no such."""
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        namespace: str | None = parse_dataset_id(name)[0]
    except (ValueError, TypeError) as error:  # the latter is Minari's for a missing version
        raise DataError(
            f"name={name!r} is no Minari id: give one such as 'my-shop/smollm2-v0', of letters, "
            "digits, - and _, with a version at its end"
        ) from error
    return namespace


def _refuse_taken(folder: Path, name: str) -> None:
    if os.path.lexists(folder):
        raise DataError(
            f"the Minari data set {name!r} exists already, in {folder}: choose another name or "
            f"version, or delete it with `minari delete {name}`"
        )


def _make(interactions: Interactions) -> gym.Env[Any, Any]:
    """The recorded environment for one user, on the recorded data."""
    about = interactions.about
    # Gymnasium would import what another name asks for, and the file may be a stranger's.
    if about["env"] not in gym.registry or not about["env"].startswith("recsim/"):
        raise DataError(f"the interactions are of {about['env']!r}, which is none of recsim's")
    try:
        env = gym.make(about["env"], **about["kwargs"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{about['env']} cannot be made with {about['kwargs']}: {error}") from error
    found: Dataset = env.unwrapped.dataset  # type: ignore[attr-defined]  # all of recsim's do
    if found.hash != about["data"]["hash"]:
        raise DataError(
            f"the interactions were recorded on {about['data']}, but that data has the hash "
            f"{found.hash} now: prepare it as it was, or record again"
        )
    space = env.observation_space
    spaces = space.spaces if isinstance(space, gym.spaces.Dict) else {HISTORY: space}
    shapes = {name: values.shape[2:] for name, values in interactions.observations.items()}
    if shapes != {name: each.shape for name, each in spaces.items()}:
        raise DataError(f"the recorded observations have shapes {shapes}, but {space} is observed")
    return env


def _of_test_users(env: gym.Env[Any, Any]) -> gym.envs.registration.EnvSpec:
    """The same environment with the users of the test split, who leave."""
    spec = deepcopy(env.spec)
    assert spec is not None
    spec.kwargs = {key: value for key, value in spec.kwargs.items() if key != "leaves"}
    spec.kwargs["split"] = "test"
    return spec


def _episode(session: Session, texts: list[str]) -> Any:
    from minari.data_collector import EpisodeBuffer

    observations: Any = session.observations
    if set(observations) == {HISTORY}:
        observations = observations[HISTORY]
    n_items, k = len(texts), session.slates.shape[1]
    return EpisodeBuffer(
        observations=observations,
        actions=session.items,
        rewards=session.rewards,
        terminations=session.terminations,
        truncations=session.truncations,
        infos={
            "item": np.append(n_items, session.items),
            "pick": np.append(NONE, session.picks),
            "slate": np.vstack([np.full(k, n_items), session.slates]),
            # HDF5's strings end at the first NUL.
            "text": ["", *(texts[item].replace("\0", "") for item in session.items)],
        },
    )
