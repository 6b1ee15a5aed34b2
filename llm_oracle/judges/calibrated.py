"""The file that `recsim calibrate-judge` writes: a calibration, for whom it is, and its worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm_oracle.calibration import Calibration
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.judges.simple import PopularityJudge, TfidfJudge
from recsim_envs.data.dataset import Dataset
from recsim_envs.errors import DataError
from recsim_envs.files import read_json, require_fields, require_signed, signed, write_whole
from recsim_envs.notices import logger

FIELDS = {
    "judge": dict,
    "data": dict,
    "calibration": dict,
    "settings": dict,
    "figures": dict,
    "versions": dict,
    "revision": str,
}
ScoringJudge = PopularityJudge | TfidfJudge | LanguageModelJudge
"""The judges that score each candidate: what they pick follows from scores and popularity."""
AGAIN = "fit it again with `recsim calibrate-judge`"


@dataclass(frozen=True)
class CalibrationCard:
    """A fitted calibration.

    Attributes:
        judge: what it was fitted for, by its ``describe()``.
        data: name, hash, and whether it is a replica, of the data that it was fitted on.
        calibration: the three numbers.
        settings: of the fit: questions, candidates, share of "None of them", seed.
        figures: of :func:`llm_oracle.study.calibrate.calibrate_judge`, each with its interval.
        versions: of the packages.
        revision: of this code.
    """

    judge: dict[str, Any]
    data: dict[str, Any]
    calibration: Calibration
    settings: dict[str, Any]
    figures: dict[str, Any]
    versions: dict[str, str]
    revision: str

    def save(self, file: Path) -> None:
        """Writes the card, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, (json.dumps(signed(asdict(self)), indent=1) + "\n").encode())

    @classmethod
    def load(cls, file: Path) -> CalibrationCard:
        """Reads what :meth:`save` wrote.

        Raises:
            DamagedFileError: if it is anything else.
        """
        found = read_json(file)
        require_fields(found, FIELDS, file)
        require_signed(found, file, AGAIN)
        return cls.read(found, file)

    @classmethod
    def read(cls, found: dict[str, Any], where: object) -> CalibrationCard:
        """The card that :func:`dataclasses.asdict` made plain.

        Raises:
            DamagedFileError: if a number of the calibration is none, or out of bounds.
        """
        require_fields(found["data"], {"name": str, "hash": str}, where)
        fields = {name: found[name] for name in FIELDS}
        return cls(**{**fields, "calibration": Calibration.read(found["calibration"], where)})

    def apply(
        self,
        judge: ScoringJudge,
        dataset: Dataset,
        where: object = "the calibration",
    ) -> None:
        """Gives a judge this calibration, and says so in its name; warns of other data.

        Args:
            judge: that was not calibrated so yet.
            dataset: that it judges on.
            where: the file's name, for errors.

        Raises:
            DataError: if the judge's model, scoring or prompts are not those of the fit.
        """
        own = judge.describe()
        if own != self.judge:
            differing = ", ".join(
                f"{name} {str(self.judge.get(name))[:80]!r}, not {str(own.get(name))[:80]!r}"
                for name in {**self.judge, **own}
                if own.get(name) != self.judge.get(name)
            )
            raise DataError(
                f"{where} is of another judge than {judge.name!r}: of {differing}. Use it with its "
                f"own, or {AGAIN}"
            )
        if self.data["hash"] != dataset.hash:
            logger.warning(
                f"{where} was fitted on other data ({self.data['name'][:80]!r}, hash "
                f"{self.data['hash'][:80]}) than {judge.name!r} is used on ({dataset.name!r}, hash "
                f"{dataset.hash}): how popularity and scores weigh there may differ. To be sure, "
                f"{AGAIN}"
            )
        judge.calibration = self.calibration
        judge.name += "/calibrated"


def apply_all(
    cards: Mapping[Path, CalibrationCard], judges: Sequence[ScoringJudge], dataset: Dataset
) -> None:
    """Gives each calibration to the judges that it was fitted for.

    Args:
        cards: by their files.
        judges: that were not calibrated so yet.
        dataset: that they judge on.

    Raises:
        DataError: if a file is of none of the judges, or two are of the same.
    """
    owners: dict[int, Path] = {}
    for file, card in cards.items():
        mine = [number for number, judge in enumerate(judges) if judge.describe() == card.judge]
        if not mine:
            names = [judge.name for judge in judges]
            about = str(card.judge)[:200]
            raise DataError(
                f"{file} is of none of the judges {names}, but of {about}: name that judge too, or "
                f"{AGAIN}"
            )
        for number in mine:
            if number in owners:
                raise DataError(
                    f"{owners[number]} and {file} both calibrate {judges[number].name!r}: give one"
                )
            owners[number] = file
            card.apply(judges[number], dataset, file)
