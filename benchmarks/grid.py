"""The grid of the paper's benchmark: which cells its tables, figures and claims are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.cells import IALP, REFERENCES, Cell, Judging, Settings, Simulation, Variant, cell_of
from benchmarks.variants import AP, FT, explorations, llm_online, main_variants

Env = Literal["LFM", "Industry", "Coat"]
FIGURES: dict[int, tuple[str, Env]] = {
    6: ("main", "LFM"),
    7: ("main", "Industry"),
    8: ("llm-online", "LFM"),
    9: ("llm-online", "Industry"),
    10: ("explorations", "Industry"),
    11: ("explorations", "LFM"),
}
"""What a figure compares, and where."""


@dataclass(frozen=True)
class Paper:
    """What to run.

    Attributes:
        tables: numbers of tables; with no table and no figure named, all of both.
        figures: numbers of figures.
        envs: environments.
        lfm: data of recsim/LFM-v0: "replica" or a name given to `recsim prepare`.
        industry: of recsim/Industry-v0.
        coat: of recsim/Coat-v0.
        histories: what enters a user's history, see ``recsim_envs``; Coat knows "shown" alone.
        judges: judges that the pre-training is compared with (C7), at equal verdicts.
        seeds: number of seeds, from 0 on.
        users: users that an agent serves at once.
    """

    tables: tuple[Literal[3, 4, 5], ...] = ()
    figures: tuple[Literal[6, 7, 8, 9, 10, 11], ...] = ()
    envs: tuple[Env, ...] = ("Industry", "Coat", "LFM")
    lfm: str = "replica"
    industry: str = "replica"
    coat: str = "replica"
    histories: tuple[Literal["shown", "accepted"], ...] = ("shown", "accepted")
    judges: tuple[str, ...] = ("tfidf", "popularity")
    seeds: int = 5
    users: int = 16

    def data_of(self, env: Env) -> str:
        """Name of an environment's data."""
        return {"LFM": self.lfm, "Industry": self.industry, "Coat": self.coat}[env]

    def runs(self, kind: str, env: Env) -> bool:
        """Whether "main", "llm-online" or "explorations" is wanted of an environment."""
        if not self.tables and not self.figures:
            return kind == "main" or (kind, env) in FIGURES.values()
        if kind == "main" and self.tables:
            return True
        return any(FIGURES[number] == (kind, env) for number in self.figures)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not self.tables and not self.figures


@dataclass(frozen=True)
class Part:
    """One environment and history.

    Attributes:
        env: the environment.
        settings: the sweep's, for these users.
        kinds: ids of the variants, by what they are for; see ``FIGURES``.
        cells: of all of them, seed by seed: an interrupted sweep has whole seeds.
        of_judges: by the name of another judge, the cells that it taught (C7).
    """

    env: Env
    settings: Settings
    kinds: dict[str, list[str]]
    cells: list[Cell]
    of_judges: dict[str, list[Cell]]

    @property
    def name(self) -> str:
        """In file names."""
        history = self.settings.simulation.history
        return self.env if history == "shown" else f"{self.env}_{history}"

    @property
    def title(self) -> str:
        """In titles."""
        users = self.settings.simulation
        return f"{users.env}, history {users.history!r}"


def parts_of(paper: Paper, settings: Settings) -> list[Part]:
    """What a sweep consists of.

    With ``history="accepted"``, which the paper does not have, only the main table is run.
    """
    parts = []
    for env in paper.envs:
        for history in paper.histories:
            if history == "accepted" and env == "Coat":
                continue
            users = Simulation(f"recsim/{env}-v0", paper.data_of(env), history, paper.users)
            of_kind = _variants(users.env)
            kinds = {
                kind: variants
                for kind, variants in of_kind.items()
                if paper.runs(kind, env) and (kind == "main" or history == "shown")
            }
            if not kinds:
                continue
            own = replace(settings, simulation=users)
            wanted = {v.id: v for variants in kinds.values() for v in variants}
            of_judges = {}
            if paper.is_whole and history == "shown":
                taught = [v for v in of_kind["main"] if v.agent == IALP or v.id == AP.lower()]
                of_judges = {
                    judge: _cells(
                        replace(own, judging=Judging(judge, k=own.judging.k)), taught, paper.seeds
                    )
                    for judge in paper.judges
                    if judge != own.judging.judge
                }
            ids = {kind: [variant.id for variant in variants] for kind, variants in kinds.items()}
            cells = _cells(own, list(wanted.values()), paper.seeds)
            parts.append(Part(env, own, ids, cells, of_judges))
    return parts


def _variants(env: str) -> dict[str, list[Variant]]:
    main = {variant.id: variant for variant in main_variants(env)}
    references, ialp, ap = main[REFERENCES], main["ialp"], main[AP.lower()]
    return {
        "main": list(main.values()),
        "llm-online": [references, ialp, *llm_online(env), main[FT.lower()], ap],
        "explorations": [references, main["a2c"], ialp, ap, *explorations()],
    }


def _cells(settings: Settings, variants: list[Variant], seeds: int) -> list[Cell]:
    return [cell_of(settings, variant, seed) for seed in range(seeds) for variant in variants]
