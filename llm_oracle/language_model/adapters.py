"""The folder that tuning a judge writes: LoRA weights as peft saves them, and a card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors import SafetensorError

from llm_oracle.calibration import Calibration
from llm_oracle.texts.prompts import TEMPLATE_VERSIONS
from recsim_envs.data.wording import Scenario
from recsim_envs.errors import DamagedFileError, DataError
from recsim_envs.files import (
    content_hash,
    file_hash,
    read_json,
    read_whole,
    require_fields,
    require_signed,
    signed,
    write_whole,
)

Scoring = Literal["label", "likelihood"]
Quantization = Literal["nf4"]
CARD = "judge.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FIELDS = {
    "model": str,
    "scoring": str,
    "max_history": int,
    "calibrations": dict,
    "data": dict,
    "settings": dict,
    "figures": dict,
    "template": str,
    "files": dict,
}
MOST_RANK = 1024
UNUSED = (
    "arrow_config",
    "auto_mapping",
    "corda_config",
    "eva_config",
    "layer_replication",
    "loftq_config",
    "megatron_config",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
)
"""Settings of peft that import a module by its name, or take memory that no weight accounts for."""
SHIPPED = Path(__file__).parents[1] / "shipped"


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
        template: version of the scoring's prompt.
        figures: accuracies on held-out sequences, before and after, beside other judges'.
    """

    model: str
    scoring: Scoring
    max_history: int
    calibrations: dict[Scenario, Calibration]
    data: dict[str, str]
    settings: dict[str, Any]
    template: str
    figures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes the card into ``folder``, whole or not at all, with the hashes of the adapter."""
        found = [folder / name for name in (CONFIG, WEIGHTS) if (folder / name).is_file()]
        card = signed({**asdict(self), "files": {file.name: file_hash(file) for file in found}})
        write_whole(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())

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
        card = read_json(file)
        require_fields(card, FIELDS, file)
        require_signed(card, file, "tune again with `recsim tune-judge`")
        if card["scoring"] not in get_args(Scoring) or card["max_history"] < 1:
            raise DamagedFileError(
                f"{file} is damaged: scoring={card['scoring'][:80]!r}, max_history="
                f"{card['max_history']}"
            )
        for name, rule in card["calibrations"].items():
            if name not in get_args(Scenario) or not isinstance(rule, dict):
                raise DamagedFileError(f"{file} is damaged, in the calibration of {name[:80]!r}")
        calibrations = {
            name: Calibration.read(rule, f"{file}, {name}")
            for name, rule in card["calibrations"].items()
        }
        own = {name: card[name] for name in FIELDS if name != "files"}
        result = cls(**{**own, "calibrations": calibrations})
        # A local copy counts as the model when its folder bears the model's name.
        if Path(result.model).name != Path(model).name:
            raise DataError(
                f"{folder} adapts the model {result.model!r}, not {model!r}: use it with that model"
            )
        version = TEMPLATE_VERSIONS[result.scoring]
        if result.template != version:
            raise DataError(
                f"{folder} was tuned on version {result.template[:20]} of the prompt of scoring by "
                f"{result.scoring}, and this is version {version}, which asks otherwise: tune "
                "again with `recsim tune-judge`"
            )
        for name in (CONFIG, WEIGHTS):
            if content_hash(read_whole(folder / name)) != card["files"].get(name):
                raise DamagedFileError(
                    f"{folder / name} is not the one of {file}: tune again with `recsim tune-judge`"
                )
        return result


def check_adapter(folder: Path) -> None:
    """Refuses what peft would load but `recsim tune-judge` does not write.

    Raises:
        DataError: unless the weights are safetensors with finite values, and the configuration
            that of a LoRA that names no code and fits into memory.
    """
    from safetensors.torch import load

    file = folder / CONFIG
    config = read_json(file)
    require_fields(config, {"peft_type": str, "r": int}, file)
    if config["peft_type"] != "LORA" or not 1 <= config["r"] <= MOST_RANK:
        raise DataError(
            f"{file} is of a {config['peft_type'][:80]} of rank {config['r']}: only LoRA of ranks "
            f"1 to {MOST_RANK} is loaded"
        )
    other = [name for name in UNUSED if config.get(name)]
    if other:
        raise DataError(f"{file} sets {other}, which `recsim tune-judge` never does: take it out")
    file = folder / WEIGHTS
    try:
        weights = load(read_whole(file))
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedFileError(f"{file} is no safetensors file, or damaged: {error}") from error
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise DamagedFileError(f"{file}: {name} holds NaN or infinity: tune again")


def shipped_adapter(model: str | Path) -> Path | None:
    """Returns the folder of this package's own adapter for a model, or None."""
    folder = SHIPPED / Path(model).name
    if str(model) != Path(model).name or not (folder / CARD).is_file():
        return None
    return folder
