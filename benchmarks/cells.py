"""What a cell of a sweep is: one variant of one agent, one seed, and every setting that counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks.agents import FROM_A_POLICY, FROM_SCRATCH, AgentStart, searched
from llm_oracle.judges.calibrated import CalibrationCard
from llm_oracle.language_model.adapters import Quantization
from llm_oracle.language_model.connection import check_address
from llm_oracle.language_model.evidence import LEAST_MASS
from recsim_envs.errors import DataError

Start = Literal["judge", "text", "random"]
"""What an agent starts from: what a judge taught iALP, the item texts, or nothing."""
REFERENCES, IALP, LLM_ONLINE = "references", "iALP", "LLMOnline"
WITHOUT_LABELS = ("tfidf", "popularity")
BEST_START: dict[str, AgentStart] = {
    "recsim/LFM-v0": "text",
    "recsim/Industry-v0": "text",
    "recsim/Coat-v0": "random",
}
"""Where an agent best starts: Coat's users leave at items that are alike."""


@dataclass(frozen=True)
class Simulation:
    """The users.

    Attributes:
        env: recsim/LFM-v0, recsim/Industry-v0 or recsim/Coat-v0.
        data: "replica" or a name given to `recsim prepare`.
        history: what enters a user's history: all that is "shown", or what is "accepted". Coat
            knows "shown" alone.
        users: users that an agent serves at once.
    """

    env: str = "recsim/Industry-v0"
    data: str = "replica"
    history: Literal["shown", "accepted"] = "shown"
    users: int = 16


CalibrationFile = Annotated[
    CalibrationCard | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="FILE",
        instance_from_str=lambda words: CalibrationCard.load(Path(words[0])),
        is_instance=lambda value: value is None or isinstance(value, CalibrationCard),
        str_from_instance=lambda card: ["None" if card is None else str(card.calibration)],
    ),
]
"""On a command line a file; its content from there on, whatever becomes of the file."""


@dataclass(frozen=True)
class Judging:
    """The judge.

    Attributes:
        judge: "smollm2" (the embedded language model), "tfidf", "popularity", or another that
            `llm_oracle.judges.build.build_judge` knows: a model with "@ADAPTER", or a server's
            URL#MODEL.
        quantization: "nf4" keeps the weights of a model in this process in 4 bits.
        k: candidates a verdict (the paper: 10).
        calibration: file that `recsim calibrate-judge` wrote for this judge.
        least_mass: total probability that a language model must give the labels, or its answer is
            an error.
    """

    judge: str = "smollm2"
    quantization: Quantization | None = None
    k: int = 10
    calibration: CalibrationFile = None
    least_mass: float = LEAST_MASS

    def __post_init__(self) -> None:
        """Refuses a URL with a password before it is written anywhere, and what would be ignored.

        Raises:
            DataError: for either.
        """
        if "://" in self.judge:
            check_address(self.judge)
        if self.judge in WITHOUT_LABELS and self.least_mass != LEAST_MASS:
            raise DataError(
                f"least_mass={self.least_mass:g}, but the judge {self.judge!r} reads no labels: "
                "leave it out"
            )

    @property
    def label(self) -> str:
        """The judge in titles."""
        return self.judge if self.calibration is None else f"{self.judge}, calibrated"

    def what(self) -> dict[str, Any]:
        """What decides the verdicts, as JSON.

        What is as if it were not there is left out, so that cells of before it was there are found.
        """
        found = asdict(self)
        if self.least_mass == LEAST_MASS:
            del found["least_mass"]
        del found["calibration"]
        if self.calibration is not None:
            found["calibration"] = asdict(self.calibration.calibration)
        return found


@dataclass(frozen=True)
class Pretraining:
    """Algorithm 1.

    Attributes:
        verdicts: judge calls (not given).
        updates_per_verdict: gradient steps for each of them (not given).
    """

    verdicts: int = 1_024
    updates_per_verdict: float = 0.0625


@dataclass(frozen=True)
class Online:
    """Learning from users.

    Attributes:
        online_steps: recommendations to users of the training split (the paper: 50,000).
        updates_per_step: gradient steps for each of them (agents with a replay buffer;
            not given).
        epoch: recommendations an epoch of the paper's e (not given).
    """

    online_steps: int = 50_000
    updates_per_step: float = 0.125
    epoch: int = 1_000


@dataclass(frozen=True)
class Evaluation:
    """Sessions with users whom no agent learns from.

    Attributes:
        sessions: of each result; a curve's points have a quarter of it, at least 250.
        curve_points: tests along a training, besides the paper's epochs.
        stochastic: play with the agents' random policies instead of the greedy ones. For Coat,
            whose users leave a greedy policy that knows two favourite coats at its third step.
        split: whose users are played with; "train" is for choosing settings.
    """

    sessions: int = 1_000
    curve_points: int = 5
    stochastic: bool = False
    split: tyro.conf.Suppress[Literal["test", "train"]] = "test"


@dataclass(frozen=True)
class Settings:
    """One sweep."""

    simulation: Simulation = Simulation()
    judging: Judging = Judging()
    pretraining: Pretraining = Pretraining()
    online: Online = Online()
    testing: Evaluation = Evaluation()


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        id: stable, in file names and records.
        label: in tables.
        agent: "references", "iALP", "LLMOnline" or a name in ``benchmarks.agents``.
        start: what it starts from.
        changes: arguments of the agent that differ from the benchmark's.
        policy: arguments of its policy that do.
        updates: gradient steps, relative to the settings'.
    """

    id: str
    label: str
    agent: str
    start: Start = "random"
    changes: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    updates: float = 1.0

    @property
    def is_pretraining(self) -> bool:
        """Whether it is Algorithm 1."""
        return self.agent == IALP


@dataclass(frozen=True)
class Cell:
    """One variant and seed, with the groups of settings that count for it; the others are None."""

    variant: Variant
    seed: int
    simulation: Simulation
    testing: Evaluation
    judging: Judging | None = None
    pretraining: Pretraining | None = None
    online: Online | None = None

    def what(self) -> dict[str, Any]:
        """Everything that decides the result but data and code, as JSON."""
        found = asdict(self)
        del found["variant"]["label"]
        if self.judging is not None:
            found["judging"] = self.judging.what()
        if self.variant.agent in (*FROM_SCRATCH, *FROM_A_POLICY):
            of_agent = searched(self.variant.agent, self.variant.start)
            found["arguments"] = of_agent | self.variant.changes
        return found


def cell_of(settings: Settings, variant: Variant, seed: int) -> Cell:
    """The cell of a variant: of the settings, only what its agent uses."""
    agent, taught = variant.agent, variant.start == "judge" or variant.is_pretraining
    return Cell(
        variant,
        seed,
        settings.simulation,
        settings.testing,
        judging=settings.judging if taught or agent == LLM_ONLINE else None,
        pretraining=settings.pretraining if taught else None,
        online=None if agent in (REFERENCES, IALP) else settings.online,
    )


def read_cell(found: dict[str, Any]) -> Cell:
    """The cell that :func:`dataclasses.asdict` made plain."""
    judging = found["judging"]
    if judging is not None and judging["calibration"] is not None:
        card = CalibrationCard.read(judging["calibration"], "the cell")
        found = found | {"judging": judging | {"calibration": card}}
    groups = {
        "simulation": Simulation,
        "testing": Evaluation,
        "judging": Judging,
        "pretraining": Pretraining,
        "online": Online,
    }
    made = {name: found[name] and group(**found[name]) for name, group in groups.items()}
    return Cell(Variant(**found["variant"]), found["seed"], **made)


def ialp_of(env: str) -> Variant:
    """The pre-training that online agents start from: IALP's defaults, the best start."""
    return Variant("ialp", "iALP", IALP, BEST_START[env])


def pretraining_of(cell: Cell) -> Cell | None:
    """The cell whose policy this one starts from; None if it needs none."""
    if cell.variant.start != "judge":
        return None
    ialp = ialp_of(cell.simulation.env)
    return Cell(
        ialp, cell.seed, cell.simulation, cell.testing, cell.judging, cell.pretraining, None
    )
