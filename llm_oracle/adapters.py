"""The folder that tuning a judge writes: LoRA weights as peft saves them, and a card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from llm_oracle.calibration import Calibration
from llm_oracle.prompts import TEMPLATE_VERSION
from recsim_envs.data.dataset import DataError, Scenario
from recsim_envs.files import write_whole

Scoring = Literal["label", "likelihood"]
Quantization = Literal["nf4"]
CARD = "judge.json"
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class TuneSettings:
    """How a judge is tuned.

    Attributes:
        model: "smollm2", a folder or a hub name.
        scoring: "label" or "likelihood".
        quantization: "nf4" or None; QLoRA where it is "nf4".
        questions: sampled interactions of each data set (the paper: 1,000).
        k: candidates a question (the paper: 10).
        none_share: share of the questions whose true item is not among the candidates (the paper
            has such questions; their share is not given).
        epochs: passes over the questions (not given).
        learning_rate: of AdamW, with a linear warm-up and decay (not given).
        rank: of LoRA, on all linear layers, scaled by 2 (not given).
        batch_size: questions a gradient step (not given).
        max_history: items of the history shown (not given).
        popularity: let the calibration weigh the items' popularity too.
        calibration_questions: drawn anew from the training sequences of each data set.
        test_questions: from the held-out sequences of each data set, with and as many without
            the true item.
        seed: of all draws.
    """

    model: str = "smollm2"
    scoring: Scoring = "likelihood"
    quantization: Quantization | None = None
    questions: int = 1000
    k: int = 10
    none_share: float = 0.1
    epochs: int = 1
    learning_rate: float = 4e-4
    rank: int = 8
    batch_size: int = 8
    max_history: int = 6
    popularity: bool = True
    calibration_questions: int = 300
    test_questions: int = 300
    seed: int = 0


@dataclass(frozen=True)
class AdapterCard:
    """What an adapter is for, what it was tuned on, and what that brought.

    Attributes:
        model: the name of the model that it adapts.
        scoring: the scoring that it was tuned for.
        max_history: items of the history it was shown.
        calibrations: fitted after tuning, one a scenario.
        data: hash of each data set that it was tuned on, by name.
        settings: of the tuning.
        figures: accuracies on held-out sequences, before and after, beside other judges'.
        template: version of the prompts.
    """

    model: str
    scoring: Scoring
    max_history: int
    calibrations: dict[Scenario, Calibration]
    data: dict[str, str]
    settings: dict[str, Any]
    figures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    template: str = TEMPLATE_VERSION

    def save(self, folder: Path) -> None:
        """Writes the card into ``folder``, whole or not at all."""
        write_whole(folder / CARD, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, model: str) -> AdapterCard:
        """Reads the card of an adapter for ``model``.

        Raises:
            FileNotFoundError: if ``folder`` holds no card.
            DataError: if the adapter belongs to another model or another version of the prompts.
        """
        file = folder / CARD
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is missing: give a folder that `recsim tune-judge` wrote"
            )
        card = json.loads(file.read_text())
        calibrations = {name: Calibration(**rule) for name, rule in card["calibrations"].items()}
        result = cls(**{**card, "calibrations": calibrations})
        # A local copy counts as the model when its folder bears the model's name.
        if Path(result.model).name != Path(model).name:
            raise DataError(
                f"{folder} adapts the model {result.model!r}, not {model!r}: use it with that model"
            )
        if result.template != TEMPLATE_VERSION:
            raise DataError(
                f"{folder} was tuned on version {result.template} of the prompts, this is version "
                f"{TEMPLATE_VERSION}: tune again with `recsim tune-judge`"
            )
        return result


def shipped_adapter(model: str | Path) -> Path | None:
    """Returns the folder of this package's own adapter for a model, or None."""
    folder = SHIPPED / Path(model).name
    if str(model) != Path(model).name or not (folder / CARD).is_file():
        return None
    return folder
