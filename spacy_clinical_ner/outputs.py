"""What a command may write, and where: never over its input, nor over what it did not make.

Every command asks `check_output` for each of its outputs before its work begins. What stands at a place already is
looked at, since no name tells who made it; docs/what-commands-replace.md has the table.
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, Set, Union

import srsly

from spacy_clinical_ner.errors import OutputError
from spacy_clinical_ner.files import HOLDER, remove_leftovers

PathLike = Union[str, Path]

# Written into each picture (PNG's own field "Software"), so that no photograph is taken for one of ours.
SIGNATURE = {"Software": "spacy-clinical-ner"}
_META = {"config.cfg", "meta.json", "tokenizer", "vocab"}
_BESIDE = {"README.md", "LICENSE", "LICENSES_SOURCES", "README"}


@dataclass(frozen=True)
class Kind:
    """A kind of output. made: whether what stands at a path is one. guarded: replaced with --overwrite only."""

    name: str
    made: Callable[[Path], bool]
    folder: bool = False
    guarded: bool = False


def _is_docs(path: Path) -> bool:
    with path.open("rb") as file:
        return b"attrs" in zlib.decompressobj().decompress(file.read(4096), 256)


def _is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1024)
    return start.startswith(b"\x89PNG") and SIGNATURE["Software"].encode() in start


def json_with(*keys: str) -> Kind:
    """A JSON file of ours, known by the keys of its object."""

    def made(path: Path) -> bool:
        found = srsly.read_json(path)
        return isinstance(found, dict) and set(keys) <= found.keys()

    return Kind("such a JSON file", made)


def _is_pipeline(path: Path) -> bool:
    meta = srsly.read_json(path / "meta.json")
    components = {*meta.get("pipeline", ()), *meta.get("disabled", ())}
    return _names(path) - _BESIDE - components == _META


def _is_encoder(path: Path) -> bool:
    # Files of one folder under names that Hugging Face's classes and `pretrain` give.
    prefixes = ("added_tokens", "config", "generation_config", "loss.", "merges", "model", "pytorch_model", "special_")
    known = (*prefixes, "spiece", "sentencepiece", "tokenizer", "vocab")
    names = _names(path) - _BESIDE
    files = all((path / name).is_file() and name.startswith(known) for name in names)
    return files and "config.json" in names and isinstance(srsly.read_json(path / "config.json").get("model_type"), str)


def _is_corpus(path: Path) -> bool:
    return _names(path) <= {"corpus.json", "train", "dev", "test", "raw"} and (path / "corpus.json").is_file()


def _names(folder: Path) -> Set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".DS_Store"}


def _is_report(path: Path) -> bool:
    if path.suffix == ".json":
        return json_with("systems", "version").made(path)
    return SIGNATURE["Software"].encode() in path.read_bytes()


def _is_lines(path: Path) -> bool:
    found = srsly.read_json(path)
    return isinstance(found, list) and all({"share", "seed", "scores"} <= row.keys() for row in found)


def _is_parts(path: Path) -> bool:
    return all(re.fullmatch(r"part-\d+\.(jsonl|csv|parquet|spacy)", name) for name in _names(path))


REPORT = Kind("a report", _is_report)
LINES = Kind("a learning curve", _is_lines)
DOCS = Kind("a .spacy file", _is_docs)
PICTURE = Kind("a picture of spacy-clinical-ner", _is_picture)
PIPELINE = Kind("a pipeline and nothing else", _is_pipeline, folder=True, guarded=True)
ENCODER = Kind("an encoder and nothing else", _is_encoder, folder=True, guarded=True)
CORPUS = Kind("a prepared corpus and nothing else", _is_corpus, folder=True)
PARTS = Kind("parts of an output and nothing else", _is_parts, folder=True, guarded=True)
TABLE = Kind("a table", lambda path: True, guarded=True)
NEW_FOLDER = Kind("a new or empty folder", lambda path: False, folder=True)


def check_output(
    path: PathLike, kind: Kind, *, inputs: Iterable[PathLike] = (), others: Iterable[PathLike] = (),
    overwrite: bool = False,
) -> None:  # fmt: skip
    """Raise OutputError, one line, unless `path` can be written and nothing is lost by it.

    inputs: what the command reads; neither these nor anything in them is replaced, whatever was told. others: further
    outputs of the command, which must be other places. overwrite: the person said that what stands there may go; of
    folders that holds for such of this kind only.
    Unfinished work that a killed run left beside `path` is removed.
    """
    path = Path(path)
    place = _resolved(path)
    for other in others:
        if place == _resolved(Path(other)):
            raise OutputError(path, None, "named twice as an output: choose another name for one")
    check_writable(path)
    for given in map(Path, inputs):
        source = _resolved(given)
        # Names of packages are no paths; a file in an input folder may only be one of this kind.
        if given.exists() and (place == source or (kind.folder and place in source.parents)):
            raise OutputError(path, None, f"holds the input ({given}): choose another place")
        if given.exists() and source in place.parents and path.exists() and not _made(kind, path):
            raise OutputError(path, None, f"is a part of the input ({given}): choose another place")
    _check_free(path, kind, overwrite)
    remove_leftovers(path.parent)


def _check_free(path: Path, kind: Kind, overwrite: bool) -> None:
    if not os.path.lexists(path):
        return
    empty = path.is_dir() and not _names(path)
    if kind.folder != path.is_dir() or not (path.is_dir() or path.is_file()):
        what = "not a folder" if kind.folder else "a folder" if path.is_dir() else "not a plain file"
        raise OutputError(path, None, f"{what}: choose another place")
    if empty or (_made(kind, path) and (overwrite or not kind.guarded)):
        return
    if kind.folder and overwrite:
        raise OutputError(path, None, f"not {kind.name}: such a folder is never replaced, choose another")
    if kind is NEW_FOLDER:
        raise OutputError(path, None, "not empty; give a new folder")
    if not overwrite:
        raise OutputError(path, None, "is there already: choose another place or pass --overwrite")


def _made(kind: Kind, path: Path) -> bool:
    try:
        return (path.is_file() and not path.stat().st_size) or kind.made(path)
    except (OSError, ValueError, TypeError, AttributeError, zlib.error):
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a circle of links, or a name that is too long
        return path.absolute()


def check_writable(path: Path) -> None:
    """Raise OutputError if `path` cannot be written, whatever stands there.

    Tried in the nearest folder that is there already: permissions alone do not tell.
    """
    place = path.absolute()
    try:
        folder = place.parent
        while not _exists(folder):
            folder = folder.parent
        # Each name by itself: the first that is missing hides that one below it is too long.
        for name in place.relative_to(folder).parts:
            _exists(folder / name)
        _exists(place)
        os.rmdir(tempfile.mkdtemp(prefix=HOLDER, dir=folder))
    except OSError as error:
        raise OutputError(path, None, error.strerror or "cannot be written") from None


def _exists(path: Path) -> bool:
    """Raises OSError for what never could, such as a name that is too long."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True
