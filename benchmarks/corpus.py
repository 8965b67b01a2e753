"""Which notes a benchmark trains on, stops training by and scores; and the word vectors that go with them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

import typer

from benchmarks.common import ROOT, package_command, run_logged
from spacy_clinical_ner.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """Which folders of a corpus are trained on, stop the training and are scored.

    dev: None splits a tenth off `train` by a hash of the document names.
    lenient: it has malformed lines, which are dropped and named in the log; in another corpus they are an error.
    """

    name: str
    lang: str
    dev: Optional[str]
    test: str
    lenient: bool = False

    @property
    def config(self) -> Path:
        return ROOT / "configs" / f"{self.name}.cfg"


CANTEMIST = Corpus("cantemist", "es", dev="dev1", test="dev2")
MACCROBAT = Corpus("maccrobat", "en", dev=None, test="dev")
DIABETES = Corpus("diabetes", "zh", dev=None, test="dev", lenient=True)


@dataclass(frozen=True)
class Parts:
    """BRAT folders; `raw` are those whose texts word vectors may be trained on."""

    train: Path
    dev: Path
    test: Path
    raw: Tuple[Path, ...]


def lay_out(corpus: Corpus, folder: Path, work: Path) -> Parts:
    """Find the parts of a corpus, or make them. Raises InputError for a folder that lacks one."""
    parts = {name: folder / name for name in ("train", corpus.dev, corpus.test) if name}
    for path in parts.values():
        if not path.is_dir():
            raise InputError(path, None, f"no such folder; {corpus.name} needs {', '.join(f'{p}/' for p in parts)}")
    train, test = parts["train"], parts[corpus.test]
    if corpus.dev is not None:
        dev = parts[corpus.dev]
    else:
        train, dev = split_by_hash(train, work / "brat")
    background = folder / "background"
    return Parts(train, dev, test, (train, background) if background.is_dir() else (train,))


def split_by_hash(folder: Path, output: Path) -> Tuple[Path, Path]:
    """Copy a BRAT folder to output/train and output/dev, as the project's workflows split: (train, dev)."""
    from spacy_clinical_ner.brat import document_name, list_notes
    from spacy_clinical_ner.project.layout import Member, split_off

    members = [Member(path, document_name(path, folder)) for path in list_notes(folder)]
    dev, train = split_off(members, "dev")
    for name, part in (("train", train), ("dev", dev)):
        shutil.rmtree(output / name, ignore_errors=True)
        for member in part:
            for path in (member.path, member.path.with_suffix(".ann")):
                if path.is_file():
                    target = output / name / (member.name + path.suffix)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
    return output / "train", output / "dev"


def make_vectors(parts: Parts, lang: str, work: Path) -> Path:
    """The folder of word vectors trained on `parts.raw`; those that were made before are taken again."""
    vectors = work / "vectors"
    if not vectors.is_dir():
        typer.echo("Training word vectors ...")
        first, *others = parts.raw
        also = [word for folder in others for word in ("--also", folder)]
        command = package_command("vectors", first, vectors, "--lang", lang, *also)
        run_logged("vectors", command, work / "vectors.log")
    return vectors
