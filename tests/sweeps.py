"""The smallest sweep that learns anything, for the tests of the benchmarks."""

from benchmarks.cells import (
    Evaluation,
    Judging,
    Online,
    Pretraining,
    Settings,
    Simulation,
    Variant,
)

COAT = "recsim/Coat-v0"
SMALL = Settings(
    Simulation(COAT, users=4),
    Judging("tfidf", k=4),
    Pretraining(16, updates_per_verdict=0.25),
    Online(128, epoch=16),
    Evaluation(sessions=8, curve_points=2),
)
AP = Variant("a-ialp_ap", "A-iALP_ap", "A-iALP_ap", "judge")
REFERENCES = Variant("references", "references", "references")
