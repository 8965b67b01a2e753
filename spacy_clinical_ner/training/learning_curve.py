"""Does more annotation help? One config trained on growing shares of the notes, each scored on the same other notes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import spacy
import srsly
from spacy.tokens import Doc, DocBin
from spacy.util import registry

from spacy_clinical_ner import __version__
from spacy_clinical_ner.brat import BratDocument, from_doc, list_notes, read_folder
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.evaluation import evaluate
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.training.spacy_train import read_config, train_config


class Point(NamedTuple):
    """One training: a share of the notes (0 to 1), a seed, how many notes that is, strict figures of the others."""

    share: float
    seed: int
    notes: int
    scores: Dict[str, Any]


class Trial(NamedTuple):
    """What a training is made of: settings in dotted form override those of the config file."""

    config: Path
    train: Path
    dev: Path
    overrides: Dict[str, Any]
    gpu_id: int = -1


def learning_curve(
    trial: Trial,
    output: Path,
    shares: Sequence[float],
    seeds: Sequence[int] = (0,),
    report: Callable[[Point, bool], None] = lambda point, done_before: None,
) -> List[Point]:
    """Train on each share with each seed; score strictly, over characters, on `trial.dev`.

    Smaller shares are parts of larger ones: notes are ordered by a hash of their names. Early stopping looks at the
    notes that are scored, as in any training with this config. What is done stands in `output` and is not done again:
    stopped in any way, the same call goes on. report: told of each point, and whether it was there before.

    Raises InputError for a share that is not above 0 and at most 1, for notes that cannot be read, and if `output`
    holds the curve of another config, other notes or other settings.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise InputError(trial.config, None, f"a share is above 0 and at most 1, not {share:g}")
    identity = fingerprint(trial)
    points = []
    for share in sorted(set(shares)):
        for seed in seeds:
            folder = output / f"share-{share:g}-seed-{seed}"
            done = folder / "point.json"
            before = done.is_file()
            if before:
                found = srsly.read_json(done)
                if found["fingerprint"] != identity:
                    raise InputError(done, None, "made with another config, notes or settings: choose another --output")
                point = Point(share, seed, found["notes"], found["scores"])
            else:
                point = _train_point(trial, share, seed, folder)
                with replacing(done) as temporary:
                    srsly.write_json(temporary, {"fingerprint": identity, **point._asdict()})
            report(point, before)
            points.append(point)
    return points


def fingerprint(trial: Trial) -> str:
    """Of the config, the settings, the names and contents of the notes, and the version of the package.

    Raises InputError for notes that cannot be read, and where no annotation says what is to be learnt, or scored.
    """
    # Training notes may be read leniently, as the config says; those that are scored are read as they are in the end.
    lenient = read_folder(trial.train, on_error="drop", offsets="auto")
    for folder, documents in ((trial.train, lenient), (trial.dev, read_folder(trial.dev))):
        if not sum(len(document.entities) for document in documents):
            raise InputError(folder, None, "not one note with a mention: nothing can be learnt or scored")
    digest = hashlib.sha256(trial.config.read_bytes())
    digest.update(srsly.json_dumps([trial.overrides, __version__], sort_keys=True).encode("utf8"))
    for folder in (trial.train, trial.dev):
        for note in list_notes(folder):
            for path in (note, note.with_suffix(".ann")):
                digest.update(path.relative_to(folder).as_posix().encode("utf8"))
                digest.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return digest.hexdigest()


def share_of(docs: Sequence[Doc], names: Sequence[str], share: float) -> List[Doc]:
    """The first `share` of the Docs in the order of a hash of their names, at least one."""
    order = sorted(range(len(docs)), key=lambda i: hashlib.sha256(names[i].encode("utf8")).hexdigest())
    return [docs[i] for i in order[: max(1, round(share * len(docs)))]]


def run_training(trial: Trial, train: Path, folder: Path, overrides: Dict[str, Any]) -> Dict[str, Any]:
    """`spacy train` into `folder`, then the strict scores ({"micro", ...}) of the best pipeline on `trial.dev`."""
    settings = {"paths.train": str(train), "paths.dev": str(trial.dev), **trial.overrides, **overrides}
    train_config(trial.config, folder, settings, trial.gpu_id)
    return score(folder / "model-best", trial.dev)


def score(pipeline: Path, gold: Path) -> Dict[str, Any]:
    """Strict character-level scores of a pipeline on a BRAT folder; see `evaluation.scoring.metrics`."""
    nlp = spacy.load(pipeline)
    documents: List[BratDocument] = list(read_folder(gold))
    docs = nlp.pipe(document.text for document in documents)
    predicted = [from_doc(doc, name=document.name) for doc, document in zip(docs, documents)]
    return evaluate(documents, predicted)["entities"]["strict"]


def _train_point(trial: Trial, share: float, seed: int, folder: Path) -> Point:
    docs, names = _references(trial)
    chosen = share_of(docs, names, share)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.spacy"
    with replacing(path) as temporary:
        DocBin(docs=chosen, store_user_data=True).to_disk(temporary)
    return Point(share, seed, len(chosen), run_training(trial, path, folder, {"training.seed": seed}))


def _references(trial: Trial) -> Tuple[List[Doc], List[str]]:
    """Whole gold Docs of the training notes, by the reader and the policies of the config, and their names."""
    paths = {"paths.train": str(trial.train), "paths.dev": str(trial.dev)}
    config = read_config(trial.config, {**paths, **trial.overrides}, interpolate=True)
    reader = dict(config.get("corpora", {}).get("train", {}))
    if reader.get("@readers") != "spacy-clinical-ner.BratCorpus.v1":
        raise InputError(trial.config, None, "corpora.train must be read by spacy-clinical-ner.BratCorpus.v1")
    reader.update(path=str(trial.train), shuffle=False, limit=0, max_length=0)
    corpus = registry.resolve({"reader": reader})["reader"]
    nlp = spacy.blank(config["nlp"]["lang"], config={"nlp": {"tokenizer": config["nlp"]["tokenizer"]}})
    docs = [example.reference for example in corpus(nlp)]
    return docs, [note.relative_to(trial.train).as_posix() for note in list_notes(trial.train)]
