"""Bit-exact resume: a run that is stopped anywhere and started again ends as if never stopped."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from ialp_agents.saving.agent import LEARNED, in_training, learned, restore_all
from recsim_envs.errors import DamagedFileError
from recsim_envs.files import content_hash, write_whole
from recsim_envs.notices import logger
from recsim_envs.trees import Tree, from_bytes, to_bytes

FORMAT = 4
KINDS = {"training": dict, **LEARNED}
KEPT_CHECKPOINTS = 2  # the second is there in case that a disk damages the first


class Checkpoints(BaseCallback):
    """Saves a run again and again; the same script, started again, goes on from the last save.

    ::

        model = IALP("SASRecPolicy", env, seed=0)
        model.learn(50_000, callback=Checkpoints("run", every=1000))

    If ``run`` holds a checkpoint when ``learn`` starts, everything is restored from the newest one:
    weights, optimiser, replay buffer, random generators, environments, schedules and counters. What
    the script ends with is then, bit for bit, what it would have ended with unstopped, on the same
    machine with the same versions and number of threads. A run that was complete is not repeated.

    Works for IALP, AIALP, PG, and SB3's DQN and A2C. Other callbacks start anew: put this one
    first in a list.

    Args:
        folder: of one call of ``learn`` alone; made if missing. It holds the newest two checkpoints
            and needs room for three.
        every: environment steps between checkpoints; saved is at the next end of a rollout and its
            training.

    Raises:
        TypeError: at the start of the training, if the environment's state cannot be had: see
            :mod:`recsim_envs.state`.
        ValueError: if ``every`` is below 1; or, at the start of the training, if the checkpoint is
            of other settings (the message names both), or no checkpoint can be read.
    """

    def __init__(self, folder: str | Path, every: int) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every}: save after at least 1 step")
        self.folder = Path(folder)
        self.every = every
        self._next = 0
        self._in_rollout = False

    def _on_training_start(self) -> None:
        self._in_rollout = False
        self._next = 0  # at once, so that what cannot be saved is known before it matters
        newest = _read_newest(self.folder)
        if newest is None:
            return
        path, tree = newest
        total, saved = self.model._total_timesteps, tree["counters"]["_total_timesteps"]
        if saved != total:
            raise ValueError(
                f"{path} is of a run of {saved} steps, this run has {total}: the schedules depend "
                "on it, so ask for the same number, or use another folder"
            )
        _restore(self.model, path, tree)
        self.num_timesteps = self.model.num_timesteps
        self._next = self.num_timesteps + self.every

    def _on_rollout_start(self) -> None:
        # Between two rollouts no step is open, nor is a gradient step owed.
        self._in_rollout = True
        if self.model.num_timesteps >= self._next:
            self._save()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._in_rollout = False

    def _on_training_end(self) -> None:
        # A callback that stops the training does so in the middle of a step.
        if not self._in_rollout:
            self._save()

    def _save(self) -> None:
        save(self.model, self.folder)
        self._next = self.model.num_timesteps + self.every


def save(model: BaseAlgorithm, folder: str | Path) -> None:
    """Adds a checkpoint to a folder, and removes all but the newest two, one of which is whole.

    Args:
        model: not in the middle of a rollout: before or after ``learn``, or at a rollout's start.
        folder: made if missing.

    Raises:
        TypeError: if the state of the environment or the replay buffer cannot be had.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = to_bytes({"format": FORMAT, **learned(model), "training": in_training(model)})
    stem = f"step-{model.num_timesteps:012d}"
    newest = folder / f"{stem}-{content_hash(content)}.safetensors"
    write_whole(newest, content)
    # Of later steps there can only be damaged ones: they would have been resumed from.
    earlier = [path for path in _checkpoints(folder) if path.name < stem]
    kept = {newest, *earlier[: KEPT_CHECKPOINTS - 1]}
    for old in {*_checkpoints(folder), *folder.glob(".step-*")} - kept:
        old.unlink()


def resume(model: BaseAlgorithm, folder: str | Path) -> None:
    """Puts a model where the newest checkpoint in a folder was.

    :class:`Checkpoints` does so by itself; this is for looking at a run, or for going beyond its
    end with ``learn(more, reset_num_timesteps=False)``.

    Raises:
        FileNotFoundError: if the folder holds no checkpoint.
        ValueError: if model or environment were made otherwise, the message names both; or if no
            checkpoint can be read.
    """
    newest = _read_newest(Path(folder))
    if newest is None:
        raise FileNotFoundError(f"{folder} holds no checkpoint: train with Checkpoints({folder!r})")
    _restore(model, *newest)


def _checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoints, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _read_newest(folder: Path) -> tuple[Path, Tree] | None:
    """Reads the newest checkpoint that is whole; None if there is none at all."""
    paths = _checkpoints(folder)
    for path in paths:
        content = path.read_bytes()
        try:
            if content_hash(content) != path.stem.rpartition("-")[2]:
                raise DamagedFileError(f"{path} is damaged: its content has not its name's hash")
            return path, from_bytes(content, path, FORMAT, KINDS)
        except DamagedFileError as error:
            logger.warning(f"{error}; the checkpoint before it is used")
    if paths:
        raise ValueError(
            f"none of the checkpoints in {folder} can be read: delete them to start from the "
            "beginning, or use another folder"
        )
    return None


def _restore(model: BaseAlgorithm, path: Path, tree: Tree) -> None:
    try:
        restore_all(model, tree, tree["training"], path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be resumed: {error}") from error
