"""The commands ``recsim prepare``, ``list`` and ``env-report``: data sets and their simulators."""

from __future__ import annotations

from pathlib import Path

import torch
import tyro

from recsim_envs.checks import check_whole
from recsim_envs.data.build import PLAIN, Reading
from recsim_envs.data.coat import read_matrix
from recsim_envs.data.dataset import DataError, Scenario
from recsim_envs.data.store import check_name, data_home, prepared_names
from recsim_envs.data.stored import read_card
from recsim_envs.data.tables import import_coat, import_tables
from recsim_envs.report.plot import plot_report
from recsim_envs.report.report import report_on
from recsim_envs.report.tables import print_report
from recsim_envs.rewards.card import print_account, print_card
from recsim_envs.rewards.prepare import prepare


def prepare_command(
    name: tyro.conf.Positional[str],
    source: tyro.conf.Positional[Path],
    text: tuple[str, ...] = (),
    scenario: Scenario = "products",
    rating_scale: tuple[float, float] = PLAIN.rating_scale,
    liked: float | None = PLAIN.liked,
    all_ratings: bool = PLAIN.all_ratings,
    min_length: int = PLAIN.min_length,
    rows_in_order: bool = PLAIN.rows_in_order,
    ratings: Path | None = None,
    seed: int = 0,
    embedding_dim: int = 64,
    max_epochs: int = 100,
) -> None:
    """Builds a named data set and fits its reward models.

    Afterwards ``gym.make("recsim/Industry-v0", data=NAME)`` uses it.

    Args:
        name: how environments and results call the data.
        source: a folder with the official Coat files, or with items.csv and interactions.csv.
        text: the item columns that a judge reads, for example: --text title brand.
        scenario: what the items are: music for LFM-v0, products for Industry-v0.
        rating_scale: the lowest and the highest rating there can be.
        liked: the lowest rating of an item that counts as chosen; None is three quarters of the
            way up the scale, 4 of 1 to 5.
        all_ratings: keep every rating, for Coat-v0, without a column that says which ones are of
            randomly drawn items.
        min_length: sequences of fewer items are dropped.
        rows_in_order: the rows of interactions.csv are in the order of time.
        ratings: a file with Coat's completed rating matrix; without it, ours is fitted.
        seed: of the split and of everything fitted.
        embedding_dim: width of the sequence reward models.
        max_epochs: most passes over the sequences; a fit ends earlier when it stops improving.
    """
    check_name(name)
    if (source / "train.ascii").is_file():
        dataset = import_coat(source, name, split_seed=seed)
    else:
        reading = Reading(rating_scale, liked, all_ratings, min_length, rows_in_order)
        dataset = import_tables(
            source, name, text=text, scenario=scenario, split_seed=seed, reading=reading
        )
    print_account(dataset.account)
    # The models are small: a second thread costs more in waiting than it computes.
    torch.set_num_threads(1)
    truth = None if ratings is None else read_matrix(ratings)
    card = prepare(
        dataset,
        data_home() / name,
        truth=truth,
        seed=seed,
        embedding_dim=embedding_dim,
        max_epochs=max_epochs,
    )
    print_card(card)
    print(f"written to {data_home() / name}")


def env_report_command(
    name: tyro.conf.Positional[str],
    sessions: int = 500,
    seed: int = 0,
    output: Path = Path("runs/env-reports"),
) -> None:
    """Reports how good a simulator is, and what wins it; docs/env-report.md says how.

    Args:
        name: a prepared name, or replica/lfm, replica/industry, replica/coat.
        sessions: sessions of each policy.
        seed: of users, policies and the one fit.
        output: folder for the JSON record and the plot.
    """
    check_whole("sessions", sessions)
    # As in preparing: the models are small.
    torch.set_num_threads(1)
    report = report_on(name, sessions, seed)
    print_report(report)
    stem = name.replace("/", "-")
    report.save(output / f"{stem}.json")
    plot_report(report, output / f"{stem}.png")
    print(f"record and plot in {output}")


def list_command() -> None:
    """Lists the prepared data sets."""
    for name in prepared_names():
        try:
            about = read_card(data_home() / name)["data"]
        except DataError as error:
            about = f"cannot be read: {error}"
        print(f"{name}: {about}")
    print(f"({data_home()}; the replicas need no preparing)")
