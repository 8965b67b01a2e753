"""Files that are either whole or not there, written beside the target and renamed into place; the reader of text."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

from spacy_clinical_ner.errors import ClinicalNerError, InputError


def check_free(output: Path, overwrite: bool) -> None:
    """Raise ClinicalNerError if there is something at `output` that may not be replaced."""
    if output.exists() and not overwrite:
        raise ClinicalNerError(f"{output} is there already: choose another folder or pass --overwrite")


def read_text(path: Union[str, Path]) -> str:
    """The text of a UTF-8 file as it is: no line end is translated, and a byte order mark is a character.

    Raises InputError, with the line of the first byte that is not UTF-8, or for a file that cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(path, None, error.strerror or "cannot be read") from None
    try:
        return data.decode("utf8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(path, line, f"not UTF-8 (byte {error.start}): save the file as UTF-8") from None


@contextmanager
def replacing(path: Union[str, Path]) -> Iterator[Path]:
    """Give a temporary path in the target's folder (made if needed) and rename it onto `path` when the block ends.

    Whatever stood at `path` stays untouched if the block raises. A temporary that became a folder replaces a folder.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
    temporary = holder / target.name
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            target.rename(holder / "replaced")
        os.replace(temporary, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
