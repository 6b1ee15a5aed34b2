"""Publishers' files from where they are published; a download that broke off continues."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import urllib3
from tqdm import tqdm

from recsim_envs.errors import DataError
from recsim_envs.notices import logger

RECORD = "downloads.recsim"
"""Beside the files, as JSON: where they came from, and their SHA-256. No name of a table's file."""
TIMEOUT = 30.0
CHUNK = 2**20

GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
AMAZON_2018 = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/",
    "https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2/",
    "https://jmcauley.ucsd.edu/data/amazon_v2/",
)
AMAZON_2023 = "https://huggingface.co/datasets/McAuley-Lab/Amazon-Reviews-2023/resolve/main/raw/"


class File(NamedTuple):
    """A file of a publisher, and the addresses at which it has been."""

    name: str
    urls: tuple[str, ...]


def _amazon_2018(path: str) -> File:
    return File(path.rpartition("/")[2], tuple(base + path for base in AMAZON_2018))


FILES: dict[str, tuple[File, ...]] = {
    "coat": (File("coat.zip", ("https://www.cs.cornell.edu/~schnabts/mnar/coat.zip",)),),
    "movielens-100k": (File("ml-100k.zip", (GROUPLENS + "ml-100k.zip",)),),
    "movielens-1m": (File("ml-1m.zip", (GROUPLENS + "ml-1m.zip",)),),
    "movielens-20m": (File("ml-20m.zip", (GROUPLENS + "ml-20m.zip",)),),
    "amazon-2018-industrial": (
        _amazon_2018("categoryFilesSmall/Industrial_and_Scientific_5.json.gz"),
        _amazon_2018("metaFiles2/meta_Industrial_and_Scientific.json.gz"),
    ),
    "amazon-2023-industrial": (
        File(
            "Industrial_and_Scientific.jsonl",
            (AMAZON_2023 + "review_categories/Industrial_and_Scientific.jsonl",),
        ),
        File(
            "meta_Industrial_and_Scientific.jsonl",
            (AMAZON_2023 + "meta_categories/meta_Industrial_and_Scientific.jsonl",),
        ),
    ),
}
"""What can be fetched, by name."""


def download(name: str, folder: Path, sha256: tuple[str, ...] = ()) -> Path:
    """Fetches a publisher's files; those that are there already are taken as they are.

    Args:
        name: a key of :data:`FILES`.
        folder: where to.
        sha256: what each file's SHA-256 must be; empty checks nothing, for publishers name none.

    Returns:
        The folder for ``recsim prepare``: where an archive was unpacked, else ``folder``.

    Raises:
        DataError: for another name, a link that is dead, another SHA-256, or without pooch.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DataError("downloads need pooch: pip install 'recsim-ialp[download]'") from error
    if name not in FILES:
        raise DataError(f"name={name!r} is unknown: use one of {', '.join(FILES)}")
    files = FILES[name]
    if sha256 and len(sha256) != len(files):
        raise DataError(f"--sha256 names {len(sha256)} hashes for {len(files)} files of {name}")
    folder.mkdir(parents=True, exist_ok=True)
    record = {}
    for number, file in enumerate(files):
        url = _fetch(file, folder, sha256[number] if sha256 else None, pooch)
        digest = pooch.file_hash(str(folder / file.name))
        logger.info(f"{folder / file.name}: sha256 {digest}")
        record[file.name] = {"url": url, "sha256": digest}
    place = folder
    for file in files:
        if file.name.endswith(".zip"):
            place = _unpack(folder / file.name)
    (place / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return place


def origin_notes(folder: Path) -> list[str]:
    """Where the files of a folder were fetched from, one sentence each."""
    record = folder / RECORD
    found = json.loads(record.read_text()) if record.is_file() else {}
    return [f"origin: {file} of {of['url']}, sha256 {of['sha256']}" for file, of in found.items()]


def _fetch(file: File, folder: Path, sha256: str | None, pooch: Any) -> str:
    """Fetches one file from the first address that answers, and returns it."""
    path, reasons = folder / file.name, []
    if path.is_file() and (sha256 is None or pooch.file_hash(str(path)) == sha256.lower()):
        return "a copy that was there"
    for url in file.urls:
        try:
            known = None if sha256 is None else f"sha256:{sha256.lower()}"
            pooch.retrieve(url, known, fname=file.name, path=folder, downloader=_Resuming(path))
            return url
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            reasons.append(f"{url}: {error}")
    raise DataError(
        f"{file.name} could not be fetched ({'; '.join(reasons)}). Run this again to continue, or "
        f"put a copy from elsewhere at {path} and run this again"
    )


class _Resuming:
    """Pooch's downloader of a file that keeps what has come beside it, and asks for the rest."""

    def __init__(self, path: Path) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.version = path.with_name(f"{path.name}.part.version")

    def __call__(self, url: str, output: str, _: Any) -> None:
        start = self.part.stat().st_size if self.part.is_file() and self.version.is_file() else 0
        headers = {"Accept-Encoding": "identity"}
        if start:
            # Of another version the server sends the whole file.
            headers |= {"Range": f"bytes={start}-", "If-Range": self.version.read_text()}
        http = urllib3.PoolManager(timeout=TIMEOUT, retries=urllib3.Retry(2, backoff_factor=0.5))
        with http.request("GET", url, headers=headers, preload_content=False) as answer:
            if answer.status not in (200, 206):
                raise OSError(f"the server answers {answer.status} {answer.reason}")
            start = start if answer.status == 206 else 0
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            self.version.write_text(version or "") if version else self.version.unlink(True)
            left = int(answer.headers.get("Content-Length", 0))
            if start:
                logger.info(f"continuing {self.part.name} at {start:,} of {start + left:,} bytes")
            bar = tqdm(total=start + left, initial=start, unit="B", unit_scale=True)
            with self.part.open("ab" if start else "wb") as stream, bar:
                for chunk in answer.stream(CHUNK, decode_content=False):
                    stream.write(chunk)
                    bar.update(len(chunk))
        self.part.replace(output)
        self.version.unlink(True)


def _unpack(archive: Path) -> Path:
    """Unpacks an archive beside itself, and returns the folder with its files."""
    try:
        with zipfile.ZipFile(archive) as files:
            files.extractall(archive.parent)
            inside = [name for name in files.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{archive} is no archive ({error}): delete it and fetch it again"
        ) from error
    return archive.parent / min(inside, key=lambda name: name.count("/")).rpartition("/")[0]
