"""The paper's claims, each with a verdict from the data: the interval of a difference decides.

A claim is one or several differences. It holds where all their 95% intervals over seeds lie above
0, does not hold where one lies below, and is not decided otherwise. Differences are paired by seed.
"The best of" is the one with the highest mean, chosen on the same data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.agents import FROM_SCRATCH
from benchmarks.records import Record
from benchmarks.tables import (
    Estimate,
    Table,
    by_variant,
    differences,
    estimate,
    provenance,
    values_at,
)

Verdict = Literal["holds", "does not hold", "not decided"]
Variants = Mapping[str, list[Record]]
SCRATCH = tuple(name.lower() for name in FROM_SCRATCH)
A_IALP = ("a-ialp_ft", "a-ialp_ap")
FREE = ("nearest text, newest item", "nearest text, whole history", "popularity", "best fixed list")
"""Recommenders that need no training (C8)."""
LOWEST = 10
"""Percentile of the users whom an agent serves worst (C4)."""


@dataclass(frozen=True)
class Finding:
    """One difference that a claim rests on.

    Attributes:
        claim: C1 to C8.
        what: the two sides, in words.
        difference: over seeds; above 0 speaks for the claim.
    """

    claim: str
    what: str
    difference: Estimate

    @property
    def verdict(self) -> Verdict:
        """What the difference's interval says."""
        if self.difference.low > 0:
            return "holds"
        return "does not hold" if self.difference.high < 0 else "not decided"


CLAIMS = {
    "C1": "iALP beats untrained agents at e = 0",
    "C2": "A-iALP_ft is best at e = 1",
    "C3": "A-iALP is best at the end",
    "C4": "A-iALP_ap starts high and stays stable",
    "C5": "A-iALP passes LLMOnline",
    "C6": "A-iALP is above A2C under all explorations",
    "C7": "the judge (the paper: a language model) teaches more than simpler ones",
    "C8": "A-iALP beats what costs nothing (ours)",
}


def findings(records: Sequence[Record]) -> list[Finding]:
    """All differences that the records of one environment and judge can tell.

    Args:
        records: of the benchmark's variants; of judges, C7's others are in :func:`taught_more`.
    """
    variants = by_variant(records)
    found = [
        _against_best("C1", variants, ["ialp"], SCRATCH, "e=0"),
        _against_best("C2", variants, ["a-ialp_ft"], SCRATCH, "e=1"),
        _against_best("C3", variants, A_IALP, SCRATCH, "end"),
        *_stable(variants),
        _against_best("C5", variants, A_IALP, ["llm-online"], "end"),
        *_under_all_explorations(variants),
        *(_against_best("C8", variants, A_IALP, [name], "end") for name in FREE),
    ]
    return [finding for finding in found if finding is not None]


def taught_more(by_judge: Mapping[str, Sequence[Record]], judge: str) -> list[Finding]:
    """C7: what one judge's verdicts teach beyond as many of the others'.

    Args:
        by_judge: records of the same variants, for each judge.
        judge: the one that the claim is about.
    """
    found = []
    ours = by_variant(by_judge[judge])
    for other, records in by_judge.items():
        theirs = by_variant(records)
        for variant, when in (("ialp", "e=0"), ("a-ialp_ap", "end")):
            if other == judge or variant not in ours or variant not in theirs:
                continue
            gaps = differences(ours[variant], theirs[variant], when)
            if len(gaps):
                label = ours[variant][0]["label"]
                what = f"{label} at {when} taught by {judge} - by {other}"
                found.append(Finding("C7", what, estimate(gaps.tolist())))
    return found


def verdict_of(found: Sequence[Finding]) -> Verdict:
    """A claim's verdict from all its differences."""
    verdicts = {finding.verdict for finding in found}
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts == {"holds"} else "not decided"


def claims_table(
    name: str, title: str, found: Sequence[Finding], records: Sequence[Record]
) -> Table:
    """A row a difference, the claim's verdict in its first."""
    rows, numbers = [], []
    for claim, says in CLAIMS.items():
        mine = [finding for finding in found if finding.claim == claim]
        for number, finding in enumerate(mine):
            head = (f"{claim}: {says}", verdict_of(mine)) if number == 0 else ("", "")
            digits = 2 if abs(finding.difference.mean) < 1 else 1
            rows.append((*head, finding.what, finding.difference.printed(digits, sign=True)))
            numbers.append(
                {
                    "claim": claim,
                    "verdict": verdict_of(mine),
                    "what": finding.what,
                    **asdict(finding.difference),
                }
            )
    seeds = len({record["seed"] for record in records})
    notes = (
        f"[..] 95% interval over {seeds} seeds (Student's t) of differences paired by seed"
        if seeds > 1
        else "one seed decides nothing",
        *provenance(records)[1:],
    )
    columns = ("claim", "verdict", "difference", "mean [95% interval]")
    return Table(name, title, columns, tuple(rows), notes, tuple(numbers))


def _against_best(
    claim: str, variants: Variants, ours: Sequence[str], others: Sequence[str], when: str
) -> Finding | None:
    """The best of ours less the best of others, in mean Return; None where one side is missing."""
    mine, theirs = _best(variants, ours, when), _best(variants, others, when)
    if mine is None or theirs is None:
        return None
    gaps = differences(variants[mine], variants[theirs], when)
    if not len(gaps):
        return None
    labels = variants[mine][0]["label"], variants[theirs][0]["label"]
    return Finding(claim, f"{labels[0]} - {labels[1]}, {when}", estimate(gaps.tolist()))


def _best(variants: Variants, names: Sequence[str], when: str) -> str | None:
    means = {
        name: float(np.mean(list(values.values())))
        for name in names
        if name in variants and (values := values_at(variants[name], when, "reward"))
    }
    return max(means, key=means.__getitem__) if means else None


def _under_all_explorations(variants: Variants) -> list[Finding]:
    """C6; nothing where one of the explorations was not run, for the claim is about all."""
    found = [
        _against_best("C6", variants, [f"a-ialp_ap{kind}"], [f"a2c{kind}"], "end")
        for kind in ("", ".epsilon", ".greedy")
    ]
    return [finding for finding in found if finding is not None] if None not in found else []


def _stable(variants: Variants) -> list[Finding]:
    """C4, of the sessions learned from, in quarters of the training."""
    if "a-ialp_ap" not in variants:
        return []
    ap = variants["a-ialp_ap"]
    fallen = [_lowest(returns[-1]) - _lowest(returns[0]) for returns in map(quarters, ap)]
    what = f"A-iALP_ap's lowest {LOWEST} percent of sessions, last quarter - first"
    found = [Finding("C4", what, estimate(fallen))]
    rivals = {name: variants[name] for name in SCRATCH if name in variants}
    if not rivals:
        return found
    best = max(rivals.values(), key=lambda mine: np.mean([quarters(r)[0].mean() for r in mine]))
    theirs = {record["seed"]: quarters(record) for record in best}
    pairs = [(quarters(r), theirs[r["seed"]]) for r in ap if r["seed"] in theirs]
    label = best[0]["label"]
    if pairs:
        higher = [float(mine[0].mean() - other[0].mean()) for mine, other in pairs]
        what = f"Return in the first quarter, A-iALP_ap - {label}"
        found.append(Finding("C4", what, estimate(higher)))
        steadier = [float(other[-1].std() - mine[-1].std()) for mine, other in pairs]
        what = f"deviation of the last quarter's sessions, {label} - A-iALP_ap"
        found.append(Finding("C4", what, estimate(steadier)))
    return found


def quarters(record: Record) -> list[NDArray[np.float64]]:
    """Returns of the sessions learned from, in four parts of the training, in order."""
    return np.array_split(np.array(record["episodes"]["return"]), 4)


def _lowest(returns: NDArray[np.float64]) -> float:
    return float(returns[returns <= np.percentile(returns, LOWEST)].mean())
