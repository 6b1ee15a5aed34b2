"""The size of a data set before and after dropping, beside the paper's."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from recsim_envs.data.dataset import Dataset
from recsim_envs.data.wording import Scenario

PAPER: dict[Scenario, tuple[str, dict[str, int]]] = {
    "music": ("LFM", {"items": 18_297, "sequences": 11_073, "interactions": 146_255}),
    "products": ("Industry", {"items": 5_814, "sequences": 10_935, "interactions": 71_872}),
    # The paper prints users and items of Coat swapped.
    "clothes": ("Coat", {"items": 300, "sequences": 290, "interactions": 11_600}),
}
"""The paper's Table 2: sequences, or users of Coat."""


def print_sizes(dataset: Dataset, console: Console | None = None) -> None:
    """Prints how many items, sequences and interactions there are.

    Args:
        dataset: as built, with its account.
        console: where to; default the terminal.
    """
    name, paper = PAPER[dataset.scenario]
    table = Table(title="Size", caption="sequences before: users, where there is no sequence_id")
    table.add_column("")
    for column in ("before", "after", f"{name} in the paper's Table 2"):
        table.add_column(column, justify="right")
    sizes = dataset.account["sizes"]
    for what, of_paper in paper.items():
        found = (sizes["before"][what], sizes["after"][what], of_paper)
        table.add_row(what, *(f"{n:,}" for n in found))
    (console or Console()).print(table)
