"""A prepared data set's card as tables on the screen; ``card.json`` holds the same and more."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

RANKING = ("hr_at_10", "ndcg_at_10", "auc")
PROBABILITY = ("ece", "mean_probability_random")


def print_card(card: dict[str, Any], console: Console | None = None) -> None:
    """Prints what was fitted, and how good it is beside what needs no fitting.

    Args:
        card: of :func:`recsim_envs.rewards.prepare.prepare`.
        console: where to; default the terminal.
    """
    console = console or Console()
    console.print(card["data"], highlight=False)
    # Data sets that an earlier version prepared, as the replicas, have no account.
    for note in card.get("account", {}).get("judges", []):
        console.print(note, highlight=False, markup=False)
    if "models" not in card:
        console.print_json(data={key: card[key] for key in card if key not in ("data", "account")})
        return
    console.print(f"item vectors started from: {card['item_vectors_start']}")
    console.print(_figures(card))
    console.print(_repeats(card))


def print_account(account: dict[str, Any], console: Console | None = None) -> None:
    """Prints what became of the rows of the tables, before anything is fitted.

    Args:
        account: ``Dataset.account``.
        console: where to; default the terminal.
    """
    console = console or Console()
    table = Table(title="Rows")
    for column in ("table", "read", "kept", "dropped"):
        table.add_column(column, justify="left" if column == "table" else "right")
    table.add_column("why")
    for name, rows in account["rows"].items():
        why = "; ".join(f"{n} {reason}" for reason, n in rows["dropped"].items())
        table.add_row(
            name, str(rows["read"]), str(rows["kept"]), str(rows["read"] - rows["kept"]), why
        )
    console.print(table)
    for note in account["notes"]:
        console.print(note, highlight=False, markup=False)


def _figures(card: dict[str, Any]) -> Table:
    models = card["models"]
    n = next(iter(models.values()))["held_out_last_items"]["n"]
    table = Table(
        title=f"Held-out choices: the last item of {n} sequences, items of the history left out",
        caption="ece: calibration error, among 10 random items; random: mean probability of one",
    )
    table.add_column("model")
    for column in ("HR@10", "NDCG@10", "AUC", "ece", "random"):
        table.add_column(column, justify="right")
    for name, model in models.items():
        found = model["held_out_last_items"]
        table.add_row(name, *(f"{found[key]:.3f}" for key in (*RANKING, *PROBABILITY)))
    table.add_section()
    for name, found in card["baselines_on_the_same_questions"].items():
        table.add_row(name, *(f"{found[key]:.3f}" for key in RANKING), "", "")
    return table


def _repeats(card: dict[str, Any]) -> Table:
    table = Table(
        title="How often an item is taken again, by how many items ago it was (lag)",
        caption="rate in the sequences / mean probability that the model gives it",
    )
    table.add_column("lag", justify="right")
    models = card["models"]
    columns = [(name, kind) for name in models for kind in ("repeats", "repeats_held_out")]
    by_lag: dict[int, list[str]] = {}
    for place, (name, kind) in enumerate(columns):
        table.add_column(name + (", held out" if kind == "repeats_held_out" else ""))
        for row in models[name][kind]:
            cells = by_lag.setdefault(row["lag"], [""] * len(columns))
            cells[place] = f"{row['data']:.2%} / {row['simulated']:.2%}"
    for lag, cells in sorted(by_lag.items()):
        table.add_row(str(lag), *cells)
    return table
