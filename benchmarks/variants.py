"""The rows of the benchmark's tables: what is run under which name."""

from __future__ import annotations

from typing import Any

from benchmarks.agents import FROM_A_POLICY, FROM_SCRATCH
from benchmarks.cells import BEST_START, IALP, LLM_ONLINE, REFERENCES, Variant, ialp_of

AP, FT = "A-iALP_ap", "A-iALP_ft"
EXPLORATIONS = ("categorical", "epsilon", "greedy")
"""The paper's RQ4; the first is every agent's own."""


def main_variants(env: str) -> list[Variant]:
    """The paper's Tables 3 to 5, and what each method has without its judge.

    DQN, PG and A2C stand there twice, from random and from the text start, and A-iALP twice, from
    the judge's policy and from the same start without a verdict: so one sees what the judge adds
    to a start that costs nothing.
    """
    best = BEST_START[env]
    rows = [Variant(REFERENCES, "references", REFERENCES)]
    rows += [Variant(name.lower(), name, name) for name in FROM_SCRATCH]
    if best == "text":
        rows += [
            Variant(f"{name.lower()}.text", f"{name}, text start", name, "text")
            for name in FROM_SCRATCH
        ]
    rows.append(ialp_of(env))
    rows += [
        Variant(f"{name.lower()}.no-verdicts", f"{name}, no verdicts", name, best)
        for name in FROM_A_POLICY
    ]
    return rows + [Variant(name.lower(), name, name, "judge") for name in FROM_A_POLICY]


def llm_online(env: str) -> list[Variant]:
    """Figures 8 and 9: the judge chooses for users, whose reward is learned from (RQ3)."""
    return [Variant("llm-online", LLM_ONLINE, LLM_ONLINE, BEST_START[env])]


def explorations() -> list[Variant]:
    """Figures 10 and 11: A2C and A-iALP, where they do not draw their items (RQ4)."""
    rows = []
    for kind in EXPLORATIONS[1:]:
        changes = {"exploration": kind}
        rows.append(Variant(f"a2c.{kind}", f"A2C, {kind}", "A2C", policy=changes))
        rows.append(Variant(f"{AP.lower()}.{kind}", f"{AP}, {kind}", AP, "judge", changes))
    return rows


FROM_RANDOM = {"learning_rate": 3e-3}
"""A start that knows nothing needs larger steps, and more of them (x 4)."""


def pretraining_variants(env: str) -> list[Variant]:
    """One change of Algorithm 1 at a time; the first row has IALP's defaults, the best start."""
    best = BEST_START[env]
    rows = [ialp_of(env)]

    def add(name: str, label: str, start: Any = best, **more: Any) -> None:
        rows.append(Variant(f"ialp.{name}", label, IALP, start, **more))

    add("slate", "slate_coef=1 (candidates not chosen teach too)", changes={"slate_coef": 1.0})
    add("td", 'advantage="td" (Eq. 9 as printed)', changes={"advantage": "td"})
    add("imitation", 'advantage="none"', changes={"advantage": "none"})
    add("topk", 'candidates="topk"', changes={"candidates": "topk"})
    add("large-steps", "learning_rate=1e-3", changes={"learning_rate": 1e-3})
    add("updates", "updates x 4", updates=4.0)
    add("slow-target", "tau=0.005", changes={"tau": 0.005})
    add("no-mask", "mask_history=False", policy={"mask_history": False})
    if best == "random":
        add("text", "text start", "text")
    from_random: dict[str, Any] = {"start": "random", "updates": 4.0}
    add("random", "random start", changes=FROM_RANDOM, **from_random)
    slate = FROM_RANDOM | {"slate_coef": 1.0}
    add("random-slate", "random start, slate_coef=1", changes=slate, **from_random)
    add(
        "random-untied",
        "random start, own vectors (the paper's form)",
        changes=FROM_RANDOM,
        policy={"tie_weights": False},
        **from_random,
    )
    return rows


def online_variants() -> list[Variant]:
    """One change of Algorithm 2 at a time, from the default's pre-trained policy."""

    def a_ialp(name: str, label: str, agent: str, **changes: Any) -> Variant:
        return Variant(f"{agent.lower()}.{name}", label, agent, "judge", changes)

    return [
        Variant(AP.lower(), "ap", AP, "judge"),
        Variant(FT.lower(), "ft", FT, "judge"),
        a_ialp("random", 'ap, beta_init="random" (section 5.4)', AP, beta_init="random"),
        a_ialp("slow-alpha", "ap, alpha_fraction=1", AP, alpha_fraction=1.0),
        a_ialp("step-alpha", 'ap, alpha_schedule="step"', AP, alpha_schedule="step"),
        a_ialp("td", 'ap, advantage="td" (Eqs. 13/15 as printed)', AP, advantage="td"),
        a_ialp("td", 'ft, advantage="td" (Eq. 13 as printed)', FT, advantage="td"),
        a_ialp("slow-target", "ap, tau=0.005", AP, tau=0.005),
        a_ialp("slow-target", "ft, tau=0.005", FT, tau=0.005),
    ]
