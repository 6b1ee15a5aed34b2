"""Files that may be packed by gzip, as streams."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, TextIO, cast


def open_text(file: Path) -> TextIO:
    """Opens a file in UTF-8, line ends as they are."""
    if file.suffix.casefold() == ".gz":
        return cast(TextIO, gzip.open(file, "rt", encoding="utf-8-sig", newline=""))
    return file.open(encoding="utf-8-sig", newline="")


def open_bytes(file: Path) -> IO[bytes]:
    """Opens a file as bytes."""
    return cast(IO[bytes], gzip.open(file)) if file.suffix.casefold() == ".gz" else file.open("rb")
