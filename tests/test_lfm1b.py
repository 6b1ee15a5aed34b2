"""LFM-1b: streamed, resumable, and the right albums; the file is made here."""

import gzip
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from llm_oracle import cli
from recsim_envs.data.reading import Reading
from recsim_envs.data.sources import lfm1b
from recsim_envs.data.sources.lfm1b import read_events
from recsim_envs.data.store import import_cache
from recsim_envs.data.tables import import_tables
from recsim_envs.errors import DataError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSIM_DATA", str(tmp_path / "home"))


def write(folder: Path, events, names=()):
    folder.mkdir(exist_ok=True)
    text = "".join("\t".join(map(str, row)) + "\n" for row in events)
    (folder / "LFM-1b_LEs.txt").write_text(text)
    (folder / "LFM-1b_artists.txt").write_text('7\t"Weird" \'Al\n8\tb\n')
    (folder / "LFM-1b_albums.txt").write_text("70\tFirst\t7\n71\tSecond\t7\n72\tThird\t8\n")
    (folder / "LFM-1b_tracks.txt").write_bytes(
        b"1\tOne\t7\n2\tTw\xf6\t7\n3\t\xc3\xa9\t8\n9\tnobody's\t8\n"
    )
    return folder


def listens(user, *tracks, start=1_300_000_000):
    """Events (user, artist, album, track, time), a minute apart, of tracks as "track.album"."""
    rows = []
    for minute, track in enumerate(tracks):
        number, _, album = str(track).partition(".")
        rows.append((user, 7, album or 0, number, start + 60 * minute))
    return rows


EVENTS = [
    *listens(50, "1.70", "2.70", "1.71", "1.71"),
    *listens(40, "3.72", "3.70", "1.70"),
    *listens(50, "3.99", start=1_300_000_000 + 29 * 3600),
    *listens(30, "9", "9"),
]


def test_tracks_have_their_commonest_album_of_what_was_kept(tmp_path):
    folder = write(tmp_path / "lfm", EVENTS)
    reading = Reading(max_users=2, min_length=1)
    found = import_tables(folder, "lfm", reading=reading)
    assert found.account["notes"][0].startswith("recognised LFM-1b: LFM-1b_LEs.txt, LFM-1b_art")
    # Of track 1 albums 70 and 71 stand twice each, and the lower id is taken; of 3 each once.
    assert found.items.drop(columns="text").values.tolist() == [
        ["1", "One", "First", '"Weird" \'Al', "7"],
        ["2", "Tw\ufffd", "First", '"Weird" \'Al', "7"],
        ["3", "é", "First", "b", "8"],
    ]
    assert found.items["text"][0] == 'One, First, "Weird" \'Al'
    assert [s.tolist() for s in found.sequences] == [[0, 1, 0, 0], [2], [2, 2, 0]]
    assert found.scenario == "music"
    assert found.account["rows"]["interactions"]["dropped"] == {"not of the first 2 users": 2}
    assert any("1 items have names with bytes" in note for note in found.account["notes"])
    alone = import_tables(folder, "lfm", reading=reading._replace(max_users=1))
    assert alone.items["album"].tolist() == ["Second", "First", ""]
    with pytest.raises(DataError, match="--max-users 1000"):
        import_tables(folder, "lfm")
    with pytest.raises(DataError, match="fewer than 8 items"):
        import_tables(folder, "lfm", reading=Reading(max_users=2))


def many(n, seed=0):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(1, high, n) for high in (200, 9, 99, 999)]
    return np.column_stack([*columns, rng.integers(1_200_000_000, 1_400_000_000, n)])


def test_an_interrupted_import_continues_where_it_stopped(tmp_path, monkeypatch, caplog):
    table = many(20_000)
    folder = write(tmp_path / "lfm", table.tolist())
    file, size = folder / "LFM-1b_LEs.txt", 50_000
    whole, n = read_events(file, 20, tmp_path / "whole", size)
    assert n == 20_000
    users = list(dict.fromkeys(table[:, 0].tolist()))[:20]
    wanted = table[np.isin(table[:, 0], users)]
    columns = ["user_id", "album_id", "track_id", "timestamp"]
    assert np.array_equal(whole[columns].to_numpy(), wanted[:, [0, 2, 3, 4]])
    assert np.array_equal(whole["line"], np.flatnonzero(np.isin(table[:, 0], users)) + 1)
    save, saved = lfm1b._save, []

    def killed(folder, place, *rest):
        if len(saved) == 5:
            raise KeyboardInterrupt
        saved.append(place)
        save(folder, place, *rest)

    monkeypatch.setattr(lfm1b, "_save", killed)
    for _ in range(2):  # the second is killed at once
        with pytest.raises(KeyboardInterrupt):
            read_events(file, 20, tmp_path / "again", size)
    again = []
    monkeypatch.setattr(lfm1b, "_save", lambda f, p, *rest: (again.append(p), save(f, p, *rest)))
    caplog.set_level("INFO", "recsim")
    caplog.clear()
    found, n = read_events(file, 20, tmp_path / "again", size)
    assert "continuing the import of LFM-1b_LEs.txt after line " in caplog.text
    assert n == 20_000 and found.equals(whole)
    assert min(again) > max(saved) and again[-1] == file.stat().st_size
    # Finished: nothing is read again. Another question is another import.
    again.clear()
    assert read_events(file, 20, tmp_path / "again", size)[0].equals(whole) and not again
    read_events(file, 21, tmp_path / "again", size)
    assert again


def test_a_packed_file_is_the_same(tmp_path, monkeypatch):
    file = write(tmp_path / "lfm", many(5_000).tolist()) / "LFM-1b_LEs.txt"
    wanted = read_events(file, 20, tmp_path / "cache")[0]
    packed = file.with_name("LFM-1b_LEs.txt.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    save = lfm1b._save
    monkeypatch.setattr(lfm1b, "_save", lambda *of: (save(*of), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        read_events(packed, 20, tmp_path / "cache", 50_000)
    monkeypatch.setattr(lfm1b, "_save", save)
    assert read_events(packed, 20, tmp_path / "cache", 50_000)[0].equals(wanted)


def test_memory_grows_with_the_users_kept_not_with_the_file(tmp_path):
    file = write(tmp_path / "lfm", many(60_000).tolist()) / "LFM-1b_LEs.txt"
    tracemalloc.start()
    read_events(file, 1, tmp_path / "cache", 50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < file.stat().st_size / 2


def test_a_bad_line_and_damaged_progress_are_named(tmp_path):
    folder = write(tmp_path / "lfm", EVENTS)
    file = folder / "LFM-1b_LEs.txt"
    lines = file.read_text().splitlines()
    for bad, words in (
        ("50\t7\t70\t1", "line 3: 4 fields"),
        ("50\t7\t70\tx\t1300000000", "line 3: track_id 'x' is no number"),
        ("50\t7\t70\t99999999999\t1300000000", "line 3: track_id '99999999999'"),
        ("", "line 3: 1 fields in ''"),
    ):
        file.write_text("\n".join([*lines[:2], bad, *lines[3:], ""]))
        with pytest.raises(DataError, match=f"LFM-1b_LEs.txt, {words}"):
            read_events(file, 2, tmp_path / "cache", 40)
    read_events(write(folder, EVENTS) / "LFM-1b_LEs.txt", 2, tmp_path / "new", 40)
    part = sorted((tmp_path / "new").glob("*/*.npz"))[0]
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(DataError, match="is damaged.*delete the folder"):
        read_events(file, 2, tmp_path / "new", 40)


def test_prepare_deletes_the_progress_and_prints_sizes_beside_the_papers(
    tmp_path, monkeypatch, capsys
):
    rng = np.random.default_rng(0)
    events = [row for user in range(12) for row in listens(user, *rng.permutation(12)[:9] + 1)]
    folder = write(tmp_path / "lfm", events)
    (folder / "LFM-1b_tracks.txt").write_text("".join(f"{i}\tsong {i}\t7\n" for i in range(1, 13)))
    arguments = ["--max-users", "11", "--max-epochs", "1", "--embedding-dim", "8"]
    monkeypatch.setattr(sys, "argv", ["recsim", "prepare", "lfm", str(folder), *arguments])
    cli.main()
    printed = capsys.readouterr().out
    assert printed.startswith("recognised LFM-1b: LFM-1b_LEs.txt")
    table = {line.split()[1]: line.split() for line in printed.splitlines() if "│" in line}
    assert [table["interactions"][i] for i in (3, 5, 7)] == ["99", "99", "146,255"]
    assert [table["items"][i] for i in (3, 5, 7)] == ["12", "12", "18,297"]
    assert [table["sequences"][i] for i in (3, 5, 7)] == ["11", "11", "11,073"]
    assert not import_cache("lfm").exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--ratings", "x.ascii"])
    with pytest.raises(SystemExit, match="--ratings x.ascii would change nothing"):
        cli.main()
