"""Notes of files and folders, one after the other: .txt, JSONL, CSV, Parquet, spaCy's DocBin. Databases: `database`.

Every reader gives jobs in an order that is always the same, and can begin in the middle, so that a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from abc import ABC, abstractmethod
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import (
    Any,
    BinaryIO,
    Dict,
    Generator,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_clinical_ner.annotation.piping import Job
from spacy_clinical_ner.brat import document_name, list_notes
from spacy_clinical_ner.brat.files import list_files
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.extensions import note_name

NOTE_KEY = "spacy_clinical_ner.note"  # in `doc.user_data`: id and carried columns of the note
_BATCH = 64  # rows of a Parquet file in memory


class Columns(NamedTuple):
    """Names of the columns that hold a note's id and text, and of those that are carried along."""

    id: str = "note_id"
    text: str = "text"
    carried: Tuple[str, ...] = ()

    @property
    def all(self) -> Tuple[str, ...]:
        return tuple(dict.fromkeys((self.id, self.text, *self.carried)))

    def check(self, names: Iterable[str], where: Union[Path, str], line: Optional[int] = None) -> None:
        """Raise InputError if one of them is not among the names of a table."""
        missing = [name for name in self.all if name not in names]
        if missing:
            raise InputError(where, line, f"no column {missing[0]!r}")

    def job(self, row: Dict[str, Any], where: str) -> Job:
        """The note in a row; one that says what is wrong, under the name `where` if it has no id."""
        id = row.get(self.id)
        name = where if id is None or id == "" else str(id)
        missing = [column for column in self.all if column not in row]
        text = row.get(self.text)
        error = None
        if missing:
            error = f"no column {missing[0]!r}"
        elif name == where:
            error = f"nothing in the column {self.id!r}"
        elif not isinstance(text, str):
            error = f"no text in the column {self.text!r}"
        elif not (is_unicode(text) and is_unicode(name)):
            error = "not UTF-8, or half of a surrogate pair"
        carried = {column: row.get(column) for column in self.carried}
        if error is not None or not isinstance(text, str):
            error = f"{where}: {error}" if name != where else error
            return Job(name if is_unicode(name) else where, columns=carried, error=error)
        return Job(name, text=text, columns=carried)


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: not if it has half of a surrogate pair, as JSON may."""
    try:
        text.isascii() or text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True


Jobs = Generator[Job, None, None]


class Reader(ABC):
    """Where notes come from.

    types: of the carried columns, as far as the input has types: str, int, float, bool, datetime.date or .datetime.
    """

    types: Mapping[str, type] = MappingProxyType({})

    @abstractmethod
    def jobs(self, skip: int = 0) -> Jobs:
        """The notes, without the first `skip`; to be closed when no more are wanted.

        Raises InputError where the input cannot be read on.
        """

    @abstractmethod
    def fingerprint(self) -> Dict[str, Any]:
        """What the input is, in JSON: another one for any other input."""

    @abstractmethod
    def total(self, read: int) -> Optional[int]:
        """Number of notes, or what it probably is after `read` of them."""


class FileReader(Reader):
    """Readers of files, one after the other."""

    def __init__(self, source: Path, files: Sequence[Path], columns: Columns) -> None:
        self.source = source
        self.files = list(files)
        self.columns = columns
        self.share = 0.0  # of the input that has been read

    def fingerprint(self) -> Dict[str, Any]:
        return {"path": str(self.source.resolve()), **_digest(self.files)}

    def total(self, read: int) -> Optional[int]:
        return round(read / self.share) if self.share else None


def _digest(files: Sequence[Path]) -> Dict[str, Any]:
    """Number and checksum of files by name, size and time of the last change."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf8", "surrogateescape"))
    return {"files": len(files), "sha256": digest.hexdigest()}


class FolderReader(FileReader):
    """A folder of .txt files, as BRAT has them, or one of them. Each is read when its turn comes."""

    def __init__(self, source: Path, given_entities: bool = False) -> None:
        super().__init__(source, [source] if source.is_file() else list_notes(source), Columns())
        self.folder = source.parent if source.is_file() else source
        self.given_entities = given_entities

    def jobs(self, skip: int = 0) -> Jobs:
        return (Job(document_name(path, self.folder), path) for path in self.files[skip:])

    def fingerprint(self) -> Dict[str, Any]:
        if not self.given_entities:
            return super().fingerprint()
        beside = [path.with_suffix(".ann") for path in self.files]
        annotations = [path for path in beside if path.is_file()]
        return {**super().fingerprint(), "annotations": _digest(annotations)}

    def total(self, read: int) -> Optional[int]:
        return len(self.files)


class LineReader(FileReader):
    """Rows of text files, plain or packed by gzip. A row that cannot be read is a note that fails."""

    def jobs(self, skip: int = 0) -> Jobs:
        number, before, size = 0, 0, max(1, sum(path.stat().st_size for path in self.files))
        for path in self.files:
            with _reading(path) as (lines, raw):
                for job in self.rows(path, lines, skip - number):
                    number += 1
                    if number > skip:
                        self.share = (before + raw.tell()) / size
                        yield job
            before += path.stat().st_size

    def where(self, path: Path, line: int) -> str:
        """The name of a line."""
        return f"line {line}" + (f" of {path.name}" if len(self.files) > 1 else "")

    @abstractmethod
    def rows(self, path: Path, lines: BinaryIO, skip: int) -> Iterator[Job]:
        """The notes of a file; the first `skip` may be any job."""


class JsonlReader(LineReader):
    """An object a line; empty lines are passed over."""

    def rows(self, path: Path, lines: BinaryIO, skip: int) -> Iterator[Job]:
        found = 0
        for number, line in enumerate(lines, start=1):
            if line.isspace():
                continue
            found += 1
            yield Job("") if found <= skip else self._job(line, self.where(path, number))

    def _job(self, line: bytes, where: str) -> Job:
        try:
            row = json.loads(line.decode("utf8").lstrip("\ufeff"))
        except UnicodeDecodeError:
            return Job(where, error="not UTF-8")
        except (ValueError, RecursionError):
            return Job(where, error="not JSON")
        return self.columns.job(row, where) if isinstance(row, dict) else Job(where, error="not an object of JSON")


class CsvReader(LineReader):
    """Comma-separated values (tab-separated in .tsv files) with a line of names above them."""

    def rows(self, path: Path, lines: BinaryIO, skip: int) -> Iterator[Job]:
        csv.field_size_limit(2**31 - 1)
        decoded = (line.decode("utf8", "surrogateescape") for line in lines)
        delimiter = "\t" if ".tsv" in path.suffixes else ","
        table = csv.reader(decoded, delimiter=delimiter)
        header = [name.lstrip("\ufeff") for name in next(table, [])]
        self.columns.check(header, path, 1)
        while True:
            where = self.where(path, table.line_num + 1)
            try:
                row = next(table)
            except StopIteration:
                return
            except csv.Error:
                yield Job(where, error="not a row of CSV")
                continue
            if len(row) == len(header):
                yield self.columns.job(dict(zip(header, row)), where)
            elif row:
                yield Job(where, error=f"{len(row)} values, but {len(header)} columns")


class ParquetReader(FileReader):
    """A Parquet file, or a folder of them."""

    def __init__(self, source: Path, files: Sequence[Path], columns: Columns) -> None:
        super().__init__(source, files, columns)
        self._parquet = needed("pyarrow.parquet", "parquet")
        with self._readable(self.files[0]):
            self.n_rows = [self._parquet.read_metadata(path).num_rows for path in self.files]
            schema = self._parquet.read_schema(self.files[0])
        columns.check(schema.names, self.files[0])
        self.types = {name: _python_type(schema.field(name).type) for name in columns.carried}

    def jobs(self, skip: int = 0) -> Jobs:
        first = 0
        for path, n_rows in zip(self.files, self.n_rows):
            if first + n_rows > skip:
                yield from self._rows(path, first, skip)
            first += n_rows

    def _rows(self, path: Path, number: int, skip: int) -> Iterator[Job]:
        with self._readable(path), self._parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=list(self.columns.all), use_threads=False):
                for row in batch.slice(max(skip - number, 0)).to_pylist() if number + len(batch) > skip else ():
                    yield self.columns.job(row, f"a row of {path.name}")
                number += len(batch)

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        arrow = needed("pyarrow", "parquet")
        try:
            yield
        except (arrow.ArrowInvalid, arrow.ArrowKeyError, OSError) as error:
            raise InputError(path, None, "not a Parquet file that can be read, or not with these columns") from error

    def total(self, read: int) -> Optional[int]:
        return sum(self.n_rows)


def _python_type(arrow_type: Any) -> type:
    import datetime

    types = needed("pyarrow", "parquet").types
    tests = {
        bool: types.is_boolean, int: types.is_integer, float: types.is_floating,
        datetime.date: types.is_date, datetime.datetime: types.is_timestamp,
    }  # fmt: skip
    return next((kind for kind, test in tests.items() if test(arrow_type)), str)


class DocBinReader(FileReader):
    """A .spacy file, or a folder of them. Only text, id and carried columns are read of a Doc."""

    def jobs(self, skip: int = 0) -> Jobs:
        number = 0
        for done, path in enumerate(self.files):
            try:
                box = DocBin().from_disk(path)
            except Exception as error:  # zlib's, srsly's, or what other content makes of them
                raise InputError(path, None, "not a .spacy file that can be read") from error
            if number + len(box) > skip:
                # A vocabulary of its own, which goes with the file.
                for place, doc in enumerate(box.get_docs(Vocab()), start=1):
                    number += 1
                    self.share = (done + place / len(box)) / len(self.files)
                    if number > skip:
                        stored = doc.user_data.get(NOTE_KEY, {})
                        name = stored.get("id") or note_name(doc) or f"{path.stem}:{place}"
                        row = {**stored.get("columns", {}), self.columns.id: name, self.columns.text: doc.text}
                        yield self.columns.job(row, f"{path.stem}:{place}")
            else:
                number += len(box)


_READERS: Dict[str, Any] = {
    ".jsonl": JsonlReader, ".csv": CsvReader, ".tsv": CsvReader, ".parquet": ParquetReader, ".spacy": DocBinReader,
}  # fmt: skip


def open_files(source: Path, columns: Columns, *, given_entities: bool = False) -> Reader:
    """The reader for a file by its ending, or for a folder by the endings of the files in it: .txt, or else tables.

    Raises InputError if there is nothing to read, or more than one kind of it.
    """
    if source.is_file():
        ending = _ending(source)
        if ending == ".txt":
            return FolderReader(source, given_entities)
        if ending not in _READERS:
            raise InputError(source, None, "not a .txt file, nor .jsonl, .csv (both also with .gz), .parquet or .spacy")
        return _READERS[ending](source, [source], columns)
    if list_files(source, (".txt",)):  # whatever else lies there
        return FolderReader(source, given_entities)
    found = [path for path in list_files(source, (*_READERS, ".gz")) if not path.name.startswith("_")]
    files = [path for path in found if _ending(path) in _READERS]
    kinds = {_ending(path) for path in files}
    if len(kinds) > 1:
        raise InputError(source, None, f"files of several kinds ({' and '.join(sorted(kinds))}): give one of them")
    return _READERS[kinds.pop()](source, files, columns) if kinds else FolderReader(source, given_entities)


def _ending(path: Path) -> str:
    """The ending of a file in small letters, without the .gz of text files."""
    ending = path.suffix.lower()
    inner = path.with_suffix("").suffix.lower()
    return inner if ending == ".gz" and issubclass(_READERS.get(inner, object), LineReader) else ending


@contextmanager
def _reading(path: Path) -> Iterator[Tuple[BinaryIO, BinaryIO]]:
    """The lines of a file, unpacked, and the file itself, which tells how much of it has been read."""
    with path.open("rb") as raw:
        try:
            yield (gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw, raw)  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(path, None, "not a gzip file that can be read to its end") from error


def needed(module: str, extra: str) -> Any:
    """A library of an extra. Raises ClinicalNerError, one line, if it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        line = f"{name} is not installed: pip install 'spacy-clinical-ner[{extra}]'"
        raise ClinicalNerError(line) from None


def shards(jobs: Iterator[Job], notes: int, characters: int) -> Iterator[List[Job]]:
    """Consecutive parts of the notes, each of so many or of so much text: the same for the same input."""
    part: List[Job] = []
    size = 0
    for job in jobs:
        part.append(job)
        size += len(job.text)
        if len(part) >= notes or size >= characters:
            yield part
            part, size = [], 0
    if part:
        yield part
