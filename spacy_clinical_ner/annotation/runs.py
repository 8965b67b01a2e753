"""A run that can be killed: what it was told, which parts of it are done, and that no other one works on it.

The folder of a run holds `manifest.json` (input, pipeline, options), `done.jsonl` (a line for each finished part, in
order), `errors.jsonl` (notes that failed), `shards/` (finished parts that are not in the output yet) and `lock`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional
from uuid import uuid4

from spacy.language import Language

from spacy_clinical_ner.errors import OutputError
from spacy_clinical_ner.files import remove_leftovers, replacing

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs apart there
    fcntl = None  # type: ignore[assignment]

Record = Dict[str, Any]
# Processes of a run that was killed end within moments, and hold its lock until then.
_LOCK_SECONDS = 5.0
_FILES = {"manifest.json", "done.jsonl", "errors.jsonl", "shards", "lock"}


def pipeline_fingerprint(nlp: Language) -> Dict[str, str]:
    """Name, version and checksum of a pipeline: of its files, or of what it would save if it has none."""
    digest = hashlib.sha256()
    folder = getattr(nlp, "_path", None)
    if folder is None:
        digest.update(nlp.to_bytes())
    else:
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    meta = nlp.meta
    return {
        "name": f"{meta['lang']}_{meta['name']}",
        "version": str(meta["version"]),
        "sha256": digest.hexdigest(),
    }


class Run:
    """An open run; `open_run` makes it.

    began: when it did. fresh: whether nothing of it was done before. finished: whether all of it was.
    """

    def __init__(self, folder: Path, output: str, manifest: Record) -> None:
        self.folder = folder
        self.output = output
        self.manifest = manifest
        self.fresh = not self._done.exists()

    @property
    def id(self) -> str:
        """Of this run and no other."""
        return self.manifest["id"]

    @property
    def began(self) -> datetime:
        return datetime.fromisoformat(self.manifest["began"])

    @property
    def finished(self) -> bool:
        return bool(self.manifest["finished"])

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def errors(self) -> Path:
        return self.folder / "errors.jsonl"

    @property
    def _done(self) -> Path:
        return self.folder / "done.jsonl"

    def done(self) -> List[Record]:
        """Records of the finished parts. A line that a killed run left unfinished is taken away."""
        if not self._done.exists():
            return []
        content = self._done.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self._done, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def add(self, record: Record) -> None:
        """A part is finished: this is the moment from which on it is not done again."""
        _append(self._done, [record])

    def begin_errors(self, records: List[Record]) -> None:
        """Write `errors.jsonl` anew, of the parts that are done."""
        self.errors.unlink(missing_ok=True)
        for record in records:
            self.add_errors(record)

    def add_errors(self, record: Record) -> None:
        if record["failures"]:
            _append(self.errors, record["failures"])

    def finish(self) -> None:
        """Everything is in the output: only manifest and errors stay."""
        self.manifest["finished"] = True
        _write(self.folder, self.manifest)
        shutil.rmtree(self.shards, ignore_errors=True)

    def keep(self, name: str, value: Callable[[], Any]) -> Any:
        """What was found out when the run began, and is the same for all of it."""
        if name not in self.manifest:
            self.manifest[name] = value()
            _write(self.folder, self.manifest)
        return self.manifest[name]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """Forget what was done."""
        shutil.rmtree(self.shards, ignore_errors=True)
        for path in (self._done, self.errors):
            path.unlink(missing_ok=True)
        self.manifest["finished"] = False
        self.manifest.update(began=_now(), id=uuid4().hex[:16])
        _write(self.folder, self.manifest)
        self.fresh = True


def unfinished(folder: Path) -> bool:
    """Whether a run was begun here and not brought to its end."""
    found = _manifest(folder)
    return found is not None and not found["finished"]


@contextmanager
def open_run(folder: Path, output: str, asked: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[Run]:
    """Begin a run in a folder, or go on with the one that is there.

    output: its name in messages. asked: in JSON, what the output depends on: input, pipeline, options.
    overwrite: what was begun otherwise is forgotten, and so is what was finished.
    Raises OutputError if the folder cannot be written or is none of ours, if another run works in it, or if it was
    begun with anything else than `asked`.
    """
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= _ours(folder)):
        raise OutputError(folder, None, "not the folder of a run: take it away, or name another one with --state")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(folder, None, error.strerror or "cannot be written") from None
    try:
        _take(descriptor, output)
        manifest = _manifest(folder)
        run = Run(folder, output, manifest or {**asked, "began": _now(), "id": uuid4().hex[:16], "finished": False})
        if manifest is None:
            _write(folder, run.manifest)
        other = [name for name in asked if run.manifest.get(name) != json.loads(json.dumps(asked[name]))]
        if other and not overwrite:
            raise OutputError(output, None, _difference(run.manifest, asked, other[0], folder))
        if other or (run.finished and overwrite):
            run.manifest.update(asked)
            run.restart()
        yield run
    finally:
        os.close(descriptor)


def _difference(before: Record, asked: Mapping[str, Any], name: str, folder: Path) -> str:
    old, new = before.get(name) or {}, asked[name]
    keys = [key for key in new if old.get(key) != new[key]] if isinstance(new, dict) and isinstance(old, dict) else []
    what = f"another {name}" + (f" ({', '.join(keys)})" if keys else "")
    return f"was begun with {what}, see {folder / 'manifest.json'}: choose another output or pass --overwrite"


def _ours(folder: Path) -> set:
    return _FILES | {path.name for path in folder.glob(".clinical-ner.*")}


def _take(descriptor: int, output: str) -> None:
    """Lock, for as long as this process and those that it starts live, however they end."""
    if fcntl is None:
        return
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise OutputError(output, None, "another run is writing it at this moment") from None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return


def _manifest(folder: Path) -> Optional[Record]:
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"began", "finished"} <= found.keys() else None


def _write(folder: Path, manifest: Record) -> None:
    with replacing(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def _append(path: Path, records: List[Record]) -> None:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with path.open("ab", buffering=0) as file:
        file.write(lines.encode("utf8", "backslashreplace"))


def _now() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds")
