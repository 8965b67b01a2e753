"""Files that are either whole or not there, written beside the target and renamed into place; the reader of text."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Union

from spacy_clinical_ner.errors import InputError, OutputError

try:
    import fcntl
except ImportError:  # Windows: what a killed run leaves has to be removed by hand there
    fcntl = None  # type: ignore[assignment]

# Folders of unfinished work, readable by their owner alone; the same short name everywhere, as names may be at their
# longest already.
HOLDER = ".clinical-ner."
# What Rust's and torch's writers say when a disk is full; they raise errors of their own kinds.
_DISK = re.compile(r"os error \d+|file write failed|unexpected pos")


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
    Whether `path` may be replaced is for `outputs.check_output` to say, before the work begins.
    Raises OutputError if it cannot be written.
    """
    target = Path(path)
    holder = None
    lock = -1
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=HOLDER, dir=target.parent))
        lock = _lock(holder)
        yield holder / target.name
        _put(holder / target.name, target, holder / "replaced")
    except OSError as error:
        # An error that names another file, such as one that cannot be read, is none of the output's.
        if error.filename is not None and not _within(error.filename, target, holder):
            raise
        raise OutputError(target, None, error.strerror or "cannot be written") from error
    except Exception as error:
        if _DISK.search(str(error)) is None:
            raise
        raise OutputError(target, None, "cannot be written: is the disk full?") from error
    finally:
        if holder is not None:
            shutil.rmtree(holder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)
        with suppress(OSError):  # nothing is left of a failure; after a success they are not empty
            for folder in made:
                folder.rmdir()


def _put(made: Path, target: Path, aside: Path) -> None:
    """Rename onto the target; a folder that stands there goes aside first, and comes back if that fails."""
    moved = made.is_dir() and target.is_dir()
    if moved:
        target.rename(aside)
    try:
        os.replace(made, target)
    except OSError:
        if moved:
            aside.rename(target)
        raise


def _within(filename: Union[str, bytes, int], target: Path, holder: Union[Path, None]) -> bool:
    path = target if isinstance(filename, int) else Path(os.fsdecode(filename))
    ours = path.name.startswith(HOLDER) or (holder is not None and holder in (path, *path.parents))
    return ours or path in (target, *target.parents)


def _lock(holder: Path) -> int:
    """Say that this work goes on: the lock ends with the process, however that ends."""
    if fcntl is None:
        return -1
    descriptor = os.open(holder, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks, whose leftovers nobody removes
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished work of runs that were killed: it may hold words of notes. A running one keeps its own.

    One that was killed between two renames holds the only copy of what it was to replace: that one stays.
    """
    if fcntl is None:
        return
    try:
        holders = [path for path in folder.glob(f"{HOLDER}*") if path.is_dir() and not path.is_symlink()]
    except OSError:
        return
    for holder in holders:
        try:
            descriptor = os.open(holder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (holder / "replaced").exists():
                shutil.rmtree(holder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def check_name(path: Path) -> Path:
    """The path itself. Raises InputError if its name is not UTF-8, so that nothing could be written under it."""
    try:
        str(path).encode("utf8")
    except UnicodeEncodeError:
        shown = str(path).encode("utf8", "backslashreplace").decode("utf8")
        raise InputError(shown, None, "the name of this file is not UTF-8: rename it") from None
    return path
