"""From a corpus as people hand it over to the four folders a workflow reads: train, dev, test and raw.

A corpus folder holds train/, dev/ (or dev1/ and dev2/), test/ and perhaps background/ with raw notes. What is missing
is split off train/ by a hash of the document name: the same document lands in the same part on every machine, in
every run and however many documents join later.

A folder of CCKS-2019 records (.json, .jsonl or .txt with JSON lines) will do as well: they are turned into BRAT first.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, DefaultDict, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import srsly

from spacy_clinical_ner.brat import document_name, list_notes
from spacy_clinical_ner.brat.ccks import holds_records, import_records
from spacy_clinical_ner.brat.files import STANDOFF
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.outputs import CORPUS, check_output

PathLike = Union[str, Path]

# Share of the documents that each split-off part takes, as half-open ranges of the hash.
SHARES = {"test": (0.0, 0.1), "dev": (0.1, 0.2)}
# Of an archive: larger ones are hardly a corpus of notes, but may fill a disk.
MAX_FILES, MAX_UNPACKED, MAX_DEPTH = 200_000, 4_000_000_000, 2
# Folder names of a part, ours first, then those of the published CANTEMIST archive.
FOLDERS = {
    "train": ("train", "train-set"),
    "dev": ("dev", "dev-set"),
    "dev1": ("dev1", "dev-set1"),
    "dev2": ("dev2", "dev-set2"),
    "test": ("test", "test-set"),
    "background": ("background", "background-set"),
}


class Member(NamedTuple):
    """A document of a part: where its .txt lies, and its name (path within the part, without suffix)."""

    path: Path
    name: str


@dataclass
class Split:
    """Which documents are for training, early stopping (dev) and evaluation (test), and where each part came from.

    remarks: what differs from a corpus that has train/, dev/ and test/; a person must be told.
    """

    members: Dict[str, List[Member]]
    origin: Dict[str, str]
    remarks: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class PreparedCorpus:
    """What `prepare_corpus` wrote, as kept in corpus.json. Holds no path, only the name of the given folder."""

    corpus: str
    sample: bool
    documents: Dict[str, int]
    origin: Dict[str, str]
    remarks: List[str]

    @classmethod
    def read(cls, folder: PathLike) -> PreparedCorpus:
        """Read the corpus.json of a prepared folder. Raises InputError if there is none or it is damaged."""
        path = Path(folder) / "corpus.json"
        try:
            return cls(**srsly.read_json(path))
        except (OSError, TypeError, ValueError):
            raise InputError(path, None, "missing or damaged; run the project's prepare command first") from None

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


def choose_source(name: str, given: str, assets: Path) -> Tuple[Path, bool]:
    """Where the corpus lies, and whether that is the bundled sample.

    What was given comes first and must exist (the reader says so if not); then ASSETS/NAME, NAME.zip, sample/NAME.
    """
    bundled = assets / "sample" / name
    if given:
        return Path(given), Path(given).resolve() == bundled.resolve()
    for candidate in (assets / name, assets / f"{name}.zip"):
        if candidate.exists():
            return candidate, False
    return bundled, True


def hash_share(name: str) -> float:
    """A number in [0, 1) that depends on the document's name alone."""
    return int.from_bytes(hashlib.sha256(name.encode("utf8")).digest()[:8], "big") / 2.0**64


def split_off(members: List[Member], part: str) -> Tuple[List[Member], List[Member]]:
    """Take the documents of `part` ("dev" or "test") out by hash: (those, the rest).

    In a corpus so small that no hash falls into the range, the document closest to it is taken.
    """
    low, high = SHARES[part]
    taken = [member for member in members if low <= hash_share(member.name) < high]
    if not taken:
        taken = [min(members, key=lambda member: abs(hash_share(member.name) - low))]
    names = {member.name for member in taken}
    return taken, [member for member in members if member.name not in names]


def find_parts(folder: Path) -> Dict[str, Path]:
    """Folders of the parts that a corpus has, keyed as in FOLDERS.

    An outer folder with nothing but the corpus in it is looked through, and so are CANTEMIST's `cantemist-ner`
    folders (beside which lie the same notes for its other tracks). A folder of notes without parts is all `train`.
    Raises InputError for a folder that holds neither.
    """
    if not folder.is_dir():
        raise InputError(folder, None, "no such folder; give a corpus with train/, dev/ and test/")
    inside = [path for path in folder.iterdir() if path.name != "__MACOSX" and not path.name.startswith(".")]
    parts: Dict[str, Path] = {}
    for part, names in FOLDERS.items():
        for found in (folder / name for name in names if (folder / name).is_dir()):
            track = found / "cantemist-ner"
            parts.setdefault(part, track if track.is_dir() else found)
    if parts:
        return parts
    if any(path.suffix == ".ann" for path in inside):
        return {"train": folder}
    if len(inside) == 1 and inside[0].is_dir():
        return find_parts(inside[0])
    raise InputError(folder, None, "neither train/, dev/ and test/ nor .ann files in this folder")


def split_corpus(parts: Dict[str, Path]) -> Split:
    """Decide what is trained on, what stops the training and what is evaluated.

    test/ is evaluated if it has annotations; without it dev2/, if there are dev1/ and dev2/; else a part split off
    train/. Early stopping takes dev/, or dev1/ (and dev2/, if that is not evaluated), or a part split off train/.
    Raises InputError if there is no train/ or it is too small to split.
    """
    if "train" not in parts:
        raise InputError(next(iter(parts.values())).parent, None, "no train/ in this folder")
    remarks: List[str] = []
    test = parts.get("test")
    if test is not None and not any(test.rglob("*.ann")):
        remarks.append("test/ has no annotations and is not evaluated on")
        test = None
    dev = [part for part in ("dev", "dev1", "dev2") if part in parts]
    origin = {"train": "train/"}
    members = {"train": _members(parts["train"])}
    if test is not None:
        members["test"], origin["test"] = _members(test), "test/"
    elif {"dev1", "dev2"} <= set(dev):
        dev.remove("dev2")
        members["test"], origin["test"] = _members(parts["dev2"]), "dev2/"
        remarks.append("no test/: evaluated on dev2/, and only dev1/ is used for early stopping")
    if dev:
        members["dev"] = [
            Member(member.path, f"{part}/{member.name}" if len(dev) > 1 else member.name)
            for part in dev
            for member in _members(parts[part])
        ]
        origin["dev"] = " and ".join(f"{part}/" for part in dev)
    missing = [part for part in SHARES if part not in members]
    if len(members["train"]) <= len(missing):
        raise InputError(parts["train"], None, f"too few documents to split off {' and '.join(missing)}")
    for part in missing:
        before = len(members["train"])
        members[part], members["train"] = split_off(members["train"], part)
        origin[part] = "train/, by a hash of the document name"
        remarks.append(f"no {part}/: {len(members[part])} of {before} documents split off by a hash of their names")
    return Split(members, origin, remarks)


def prepare_corpus(
    source: PathLike,
    output: PathLike,
    *,
    name: Optional[str] = None,
    sample: bool = False,
    raw: Optional[PathLike] = None,
) -> PreparedCorpus:
    """Copy a corpus (folder or .zip) to `output` as train/, dev/, test/ and raw/, with corpus.json beside them.

    raw/ gets the texts that word vectors may be trained on: those of train/ and of background/ (or, where there is
    none, of the folder `raw`); never those that are evaluated. name: what to call the corpus, by default as its folder
    or archive is called. Files are copied byte for byte; `output` appears whole or not at all.
    Raises InputError as the functions above.
    """
    source = Path(source).resolve()
    check_output(output, CORPUS, inputs=[source, *([raw] if raw else [])])
    with _unpacked(source) as folder, _as_brat(folder) as (brat, remarks), replacing(output) as temporary:
        parts = find_parts(brat)
        split = split_corpus(parts)
        for part, members in split.members.items():
            for member in members:
                _copy(member, temporary / part, standoff=True)
        raw_folders = {"train": split.members["train"]}
        background = parts.get("background", raw)
        if background is not None:
            raw_folders["background"] = _members(Path(background))
        for part, members in raw_folders.items():
            for member in members:
                _copy(member, temporary / "raw" / part, standoff=False)
        prepared = PreparedCorpus(
            corpus=name or (folder.name if folder == source else source.stem),
            sample=sample,
            documents={part: len(members) for part, members in sorted(split.members.items())}
            | {"raw": sum(map(len, raw_folders.values()))},
            origin={**split.origin, "raw": " and ".join(f"{part}/" for part in raw_folders)},
            remarks=remarks + split.remarks,
        )
        srsly.write_json(temporary / "corpus.json", prepared.to_dict())
    return prepared


def _members(folder: Path) -> List[Member]:
    notes, inside = list_notes(folder), folder.resolve()
    for path in (each for note in notes for each in _files(note)):
        if inside not in path.resolve().parents:
            raise InputError(path, None, "a link to a file outside the corpus: put a copy in its place")
    return [Member(path, document_name(path, folder)) for path in notes]


def _files(note: Path) -> List[Path]:
    """The note and the standoff beside it, whose endings may be in capitals."""
    beside = [note.with_suffix(each) for ending in STANDOFF for each in (ending, ending.upper())]
    return [note, *(path for path in beside if path.is_file())]


def _copy(member: Member, folder: Path, *, standoff: bool) -> None:
    for path in _files(member.path)[: None if standoff else 1]:
        # Not Path.with_suffix: a document's name may hold a full stop.
        target = folder / (member.name + path.suffix.lower())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def find_records(folder: Path) -> Tuple[Dict[str, List[Path]], List[Path]]:
    """Files of records below a folder without .ann files, by part (train, dev, test), and .txt files without records.

    A file belongs to the part whose folder it lies in, else to the one that its name tells of (`test` or `dev`), else
    to train.
    """
    parts: DefaultDict[str, List[Path]] = defaultdict(list)
    others: List[Path] = []
    if not folder.is_dir():
        return parts, others
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in files if not any(part.startswith((".", "__MACOSX")) for part in _names(path, folder))]
    if any(path.suffix == ".ann" for path in files):
        return parts, others
    for path in files:
        if path.suffix in (".json", ".jsonl") or (path.suffix == ".txt" and holds_records(path)):
            parts[_part_of(path, folder)].append(path)
        elif path.suffix == ".txt":
            others.append(path)
    return parts, others


def _names(path: Path, folder: Path) -> Tuple[str, ...]:
    return path.relative_to(folder).parts


def _part_of(path: Path, folder: Path) -> str:
    for name in _names(path, folder)[:-1]:
        for part, folders in FOLDERS.items():
            if name in folders:
                return part
    words = re.findall("[a-z]+", path.stem.lower())
    return next((part for part in ("test", "dev") if part in words), "train")


@contextmanager
def _as_brat(folder: Path) -> Iterator[Tuple[Path, List[str]]]:
    """The folder itself, or one with its CCKS-2019 records as BRAT; and what a person must be told of that."""
    parts, others = find_records(folder)
    if not parts:
        yield folder, []
        return
    with tempfile.TemporaryDirectory() as converted:
        for part, files in parts.items():
            import_records(files, Path(converted) / part)
        count = len(others)
        yield (
            Path(converted),
            [f"{count} .txt files hold no records and are left out, such as {others[0].name}"] if count else [],
        )


def _extract(source: Path, folder: Path) -> None:
    """Raises InputError for an archive that cannot be read or is a bomb. A member is never longer than it says."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_UNPACKED:
                reason = f"more than {MAX_FILES:,} files or {MAX_UNPACKED / 1e9:g} GB when unpacked"
                raise InputError(source, None, f"{reason}: unpack it by hand if you trust it")
            archive.extractall(folder)
    except RuntimeError as error:  # NotImplementedError, for a way of packing, is one
        encrypted = "encrypted" in str(error)
        reason = "encrypted" if encrypted else "packed in a way that Python cannot unpack"
        raise InputError(source, None, f"{reason}: unpack it by hand and give the folder") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(source, None, "not a .zip that can be read; fetch it again") from None


@contextmanager
def _unpacked(source: Path, depth: int = 0) -> Iterator[Path]:
    """Of an archive that holds only archives the last by name counts: figshare packs MACCROBAT2018 beside 2020."""
    if source.suffix.lower() != ".zip":
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        _extract(source, Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and "__MACOSX" not in path.parts)
        if files and all(path.suffix.lower() == ".zip" for path in files):
            if depth == MAX_DEPTH:
                raise InputError(source, None, "archives within archives within archives: unpack it by hand")
            with _unpacked(files[-1], depth + 1) as inner:
                yield inner
        else:
            yield Path(folder)
