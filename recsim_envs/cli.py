"""The commands ``recsim download``, ``prepare``, ``list``, ``env-report`` and ``play``.

Each imports what it works with: PyTorch, pandas and scikit-learn take seconds, and ``--help`` needs
none of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import tyro

from recsim_envs.checks import check_whole
from recsim_envs.data.store import check_name, data_home, import_cache, prepared_names
from recsim_envs.data.stored import read_card
from recsim_envs.errors import DataError
from recsim_envs.users.simulator import Split

EnvId = Literal["recsim/LFM-v0", "recsim/Industry-v0", "recsim/Coat-v0"]


def prepare_command(
    name: tyro.conf.Positional[str],
    source: tyro.conf.Positional[Path],
    text: tuple[str, ...] = (),
    scenario: str | None = None,
    item: str | None = None,
    behavior: str | None = None,
    attributes: tuple[str, ...] = (),
    rating_scale: tuple[float, float] | None = None,
    liked: float | None = None,
    all_ratings: bool = False,
    max_users: int | None = None,
    k_core: int | None = None,
    session_gap: float | None = None,
    min_length: int | None = None,
    rows_in_order: bool = False,
    ratings: Path | None = None,
    seed: int = 0,
    embedding_dim: int | None = None,
    max_epochs: int | None = None,
) -> None:
    """Builds a named data set and fits its reward models.

    Afterwards `gym.make("recsim/Industry-v0", data=NAME)` uses it.

    Args:
        name: how environments and results call the data.
        source: a folder with a publisher's files, or with tables of interactions and items; see
            docs/own-data.md for what is recognised.
        text: the item columns that a judge reads, for example: --text title brand. Default: those
            of the publisher's format.
        scenario: what the items are: music for LFM-v0, products for Industry-v0, or words of your
            own for where they are chosen (for Industry-v0; with --item and --behavior), for
            example: --scenario "video platform" --item film --behavior watching. Default: the
            format's, else products.
        item: what a judge's prompt calls an item, in the singular. Default: the scenario's.
        behavior: how an item is chosen there, with -ing. Default: the scenario's.
        attributes: what an item's text consists of there. Default: the columns of --text.
        rating_scale: the lowest and the highest rating there can be. Default: the format's, else
            1 5.
        liked: the lowest rating of an item that counts as chosen. Default: the format's, else three
            quarters of the way up the scale, 4 of 1 to 5.
        all_ratings: keep every rating, for Coat-v0, without a column that says which ones are of
            randomly drawn items.
        max_users: only the first so many users of the interactions.
        k_core: only users and items with so many choices or more.
        session_gap: hours; a user's history is cut where more pass between two choices. Default:
            the format's (LFM-1b and Last.fm-1K: 28), else it is not cut.
        min_length: sequences of fewer items are dropped. Default: the format's (LFM-1b and
            Last.fm-1K: 8), else 2.
        rows_in_order: the rows of the interactions are in the order of time.
        ratings: a file with Coat's completed rating matrix; without it, ours is fitted.
        seed: of the split and of everything fitted.
        embedding_dim: width of the sequence reward models. Default: 64.
        max_epochs: most passes over the sequences; a fit ends earlier when it stops improving.
            Default: 100.
    """
    import torch

    from recsim_envs.data.coat import read_matrix
    from recsim_envs.data.reading import Reading
    from recsim_envs.data.sizes import print_sizes
    from recsim_envs.data.sources.recognise import import_found, recognise
    from recsim_envs.rewards.card import print_account, print_card
    from recsim_envs.rewards.prepare import prepare
    from recsim_envs.rewards.ready import has_ratings

    check_name(name)
    found = recognise(source)
    # Before the reading, which may take long.
    print(found)
    reading = Reading(
        rating_scale, liked, all_ratings, min_length, rows_in_order, max_users, k_core, session_gap
    )
    dataset = import_found(
        found,
        name,
        text=text,
        scenario=scenario,
        item=item,
        behavior=behavior,
        attributes=attributes,
        split_seed=seed,
        reading=reading,
    )
    print_account(dataset.account)
    print_sizes(dataset)
    given: dict[str, object] = {"--embedding-dim": embedding_dim, "--max-epochs": max_epochs}
    if not has_ratings(dataset):
        given = {"--ratings": ratings}
    for argument, value in given.items():
        if value is not None:
            kind = "ratings" if has_ratings(dataset) else "sequences"
            raise DataError(f"{argument} {value} would change nothing for data of {kind}: drop it")
    # The models are small: a second thread costs more in waiting than it computes.
    torch.set_num_threads(1)
    truth = None if ratings is None else read_matrix(ratings)
    sizes = {"embedding_dim": embedding_dim, "max_epochs": max_epochs}
    own = {argument: size for argument, size in sizes.items() if size is not None}
    card = prepare(dataset, data_home() / name, truth=truth, seed=seed, **own)
    shutil.rmtree(import_cache(name), ignore_errors=True)
    print_card(card)
    print(f"written to {data_home() / name}")


def download_command(
    name: tyro.conf.Positional[str],
    folder: tyro.conf.Positional[Path | None] = None,
    sha256: tuple[str, ...] = (),
) -> None:
    """Fetches a publisher's files; a download that broke off continues.

    Args:
        name: coat, movielens-100k, movielens-1m, movielens-20m, amazon-2018-industrial or
            amazon-2023-industrial.
        folder: where to. Default: a folder of that name here.
        sha256: what each file's SHA-256 must be; without it, it is only printed and noted.
    """
    from recsim_envs.data.sources.download import download

    place = download(name, Path(name) if folder is None else folder, sha256)
    print(f"next: recsim prepare {name} {place}")


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
    import torch

    from recsim_envs.report.plot import plot_report
    from recsim_envs.report.report import report_on
    from recsim_envs.report.tables import print_report

    check_whole("sessions", sessions)
    # As in preparing: the models are small.
    torch.set_num_threads(1)
    report = report_on(name, sessions, seed)
    print_report(report)
    stem = name.replace("/", "-")
    report.save(output / f"{stem}.json")
    plot_report(report, output / f"{stem}.png")
    print(f"record and plot in {output}")


def play_command(
    env: tyro.conf.Positional[EnvId],
    data: str = "replica",
    split: Split = "test",
    seed: int = 0,
) -> None:
    """Lets you recommend to one user, and compares you with policies on the same user.

    Each step suggests popular items, those with texts most like the history's, and random ones. A
    search shows the most popular items with all of the words in their text.

    Args:
        env: which users.
        data: "replica" or a prepared name.
        split: whose users and rewards.
        seed: of the user and of the random suggestions.
    """
    from recsim_envs.play import play_a_session

    play_a_session(env, data, split, seed)


def list_command() -> None:
    """Lists the prepared data sets."""
    for name in prepared_names():
        try:
            about = read_card(data_home() / name)["data"]
        except DataError as error:
            about = f"cannot be read: {error}"
        print(f"{name}: {about}")
    print(f"({data_home()}; the replicas need no preparing)")
