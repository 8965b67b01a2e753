"""Files that are either whole or not there: written beside the target, then renamed into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

from spacy_clinical_ner.errors import ClinicalNerError


def check_free(output: Path, overwrite: bool) -> None:
    """Raise ClinicalNerError if there is something at `output` that may not be replaced."""
    if output.exists() and not overwrite:
        raise ClinicalNerError(f"{output} is there already: choose another folder or pass --overwrite")


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
