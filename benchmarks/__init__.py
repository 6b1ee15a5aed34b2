"""The paper's tables and figures, measured: see ``benchmarks.paper``."""
