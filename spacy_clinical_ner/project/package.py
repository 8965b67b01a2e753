"""From a trained pipeline to a wheel that says what it was trained on and how well it does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

import srsly

from spacy_clinical_ner import __version__
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.files import read_text, replacing
from spacy_clinical_ner.pipelines import clean_folder
from spacy_clinical_ner.project.layout import PreparedCorpus

PathLike = Union[str, Path]

SAMPLE_NAME = "the synthetic sample of spacy-clinical-ner"
SAMPLE_LICENSE = "MIT"
# A pipeline remembers words and, through its weights, more of its training texts: their terms bind it.
CORPUS_LICENSE = "MIT for the code; the terms of the training corpus hold for the weights"
LANGUAGES = {"en": "English", "es": "Spanish", "zh": "Chinese"}


def describe(
    corpus: PreparedCorpus,
    metrics: Dict[str, Any],
    lang: str,
    license_name: Optional[str] = None,
    given_entities: bool = False,
    n_notes: Optional[int] = None,
) -> Dict[str, Any]:
    """The entries of a pipeline's meta.json that tell its origin, scores, licence and requirements.

    metrics: what `clinical-ner evaluate` wrote. license_name: by default MIT for the sample, for other corpora a
    statement that their terms hold. given_entities: the pipeline finds relations between entities that it is given,
    and `metrics` are those of `annotate --given-entities`, in which the scores of entities say nothing. n_notes: how
    many it was trained on, if not the corpus's train/ alone.
    """
    trained_on = SAMPLE_NAME if corpus.sample else f"the corpus '{corpus.corpus}'"
    strict = metrics["relations" if given_entities else "entities"]["strict"]
    micro = strict["micro"]
    figure = f"strict micro F1 {micro['f']:.3f}"
    if micro["ci_low"] is not None:
        figure += (
            f" ({metrics['bootstrap']['confidence']:.0%} interval {micro['ci_low']:.3f} to {micro['ci_high']:.3f})"
        )
    what = "Relations between given entities" if given_entities else "Entities"
    description = (
        f"{what} in {LANGUAGES.get(lang, lang)} clinical notes. Trained on {trained_on} "
        f"({n_notes or corpus.documents['train']} documents); {figure}, character offsets, "
        f"on {metrics['documents']} documents from {corpus.origin['test']}."
    )
    if corpus.sample:
        description += " A demonstration on invented notes: not for use on real ones."
    return {
        "description": description,
        "license": license_name or (SAMPLE_LICENSE if corpus.sample else CORPUS_LICENSE),
        "requirements": [_own_requirement()],
        "sources": [{"name": SAMPLE_NAME if corpus.sample else corpus.corpus}],
        "trained_on": {
            "corpus": corpus.corpus,
            "synthetic_sample": corpus.sample,
            "documents": corpus.documents,
            "origin": corpus.origin,
            "remarks": corpus.remarks,
        },
        "performance": _performance(metrics, given_entities),
    }


def sample_package(name: str) -> str:
    """What a package is called if its pipeline was trained on the sample, so that no one takes it for a real one."""
    corpus, separator, kind = name.rpartition("_")
    return f"{corpus}_sample_{kind}" if separator else f"{kind}_sample"


def build_wheel(
    model: PathLike,
    corpus: PathLike,
    metrics: PathLike,
    output: PathLike,
    *,
    name: str,
    version: str,
    license_name: Optional[str] = None,
    given_entities: bool = False,
    card: Optional[PathLike] = None,
) -> Path:
    """Package the pipeline at `model` with `spacy package` and build its wheel without any download.

    corpus: folder written by `prepare_corpus`. metrics: JSON of `clinical-ner evaluate`. name: without the language
    ("cantemist_ner" becomes es_cantemist_ner). The words of the training notes stay out of the wheel where
    `clean_folder` can take them out. given_entities: see `describe`. card: Markdown, such as that of `clinical-ner
    report`, for the README that people see of the package. Returns the wheel,
    OUTPUT/NAME-VERSION/dist/NAME-VERSION-*.whl; what stood there before is replaced.
    Raises InputError for missing or damaged inputs, ClinicalNerError if the wheel cannot be built.
    """
    from spacy.cli.package import package

    model, output = Path(model), Path(output)
    meta = _read_json(model / "meta.json")
    scores = _read_json(Path(metrics))
    if given_entities and not scores.get("relations"):
        raise InputError(Path(metrics), None, "no scores of relations; run clinical-ner evaluate with relations")
    n_notes = meta.get("refit", {}).get("notes")
    meta.update(describe(PreparedCorpus.read(corpus), scores, meta["lang"], license_name, given_entities, n_notes))
    if card is not None:
        meta["notes"] = read_text(Path(card))  # spaCy ends the README with them
    package_name = f"{meta['lang']}_{name}-{version}"
    with replacing(output / package_name) as temporary:
        # `spacy package` wants its output folder to be there, and keeps a README.md of an earlier build.
        meta_path, pipeline = temporary.parent / "meta.json", temporary.parent / "pipeline"
        srsly.write_json(meta_path, meta)
        shutil.copytree(model, pipeline)
        clean_folder(pipeline)
        # spaCy 3.7 always has itself among the requirements.
        parent: Dict[str, Any] = {"require_parent": True} if "require_parent" in signature(package).parameters else {}
        package(pipeline, temporary.parent, meta_path, name=name, version=version, create_sdist=False, **parent)
        _run_pip_wheel(temporary)
    wheels = list((output / package_name / "dist").glob("*.whl"))
    if len(wheels) != 1:
        raise ClinicalNerError(f"{output / package_name}: building left {len(wheels)} wheels instead of one")
    return wheels[0]


def install_wheels(wheels: Sequence[Path], *, force: bool = False) -> None:
    """Install wheels into this environment without any download; force: also in place of the same version.

    Raises ClinicalNerError if pip cannot.
    """
    if wheels:
        options = ["--force-reinstall"] if force else []
        _run_pip("install", *options, *map(str, wheels), problem="the wheel could not be installed")


def clear_predictions(folder: Path) -> None:
    """Remove the predictions of an earlier run, perhaps of another corpus: they would mix with those to come.

    A folder that is not there is fine. Raises InputError, and removes nothing, if it holds anything but .txt and .ann.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".txt", ".ann"):
            raise InputError(path, None, "not a prediction; this folder is not removed")
    if folder.exists():
        shutil.rmtree(folder)


def _run_pip(command: str, *options: str, problem: str) -> None:
    # Offline, as hospital machines are.
    words = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    result = subprocess.run([*words, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        print(result.stdout, file=sys.stderr)
        raise ClinicalNerError(problem)


def _run_pip_wheel(folder: Path) -> None:
    # Without build isolation: that would fetch setuptools.
    problem = "the wheel could not be built; its tools: pip install 'setuptools>=70.1' wheel"
    _run_pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(folder), problem=problem)
    for leftover in (folder / "build", *folder.glob("*.egg-info")):
        shutil.rmtree(leftover, ignore_errors=True)


def _performance(metrics: Dict[str, Any], given_entities: bool) -> Dict[str, Any]:
    """Figures in [0, 1] under names that cannot be taken for spaCy's token-level ones."""
    parts = {} if given_entities else {"ents": metrics["entities"]}
    if metrics["relations"] is not None:
        parts["rels"] = metrics["relations"]
    performance: Dict[str, Any] = {}
    for part, kinds in parts.items():
        for matching, scores in kinds.items():
            for average in ("micro", "macro", "weighted"):
                for figure in ("p", "r", "f"):
                    performance[f"{part}_{matching}_{average}_{figure}"] = scores[average][figure]
        performance[f"{part}_strict_per_type"] = {
            label: {figure: scores[figure] for figure in ("p", "r", "f")}
            for label, scores in kinds["strict"]["per_type"].items()
        }
    return performance


def _own_requirement() -> str:
    major, minor = __version__.split(".")[:2]
    return f"spacy-clinical-ner>={__version__},<{major}.{int(minor) + 1}.0"


def _read_json(path: Path) -> Dict[str, Any]:
    try:
        return dict(srsly.read_json(path))
    except (OSError, TypeError, ValueError):
        raise InputError(path, None, "missing or damaged; run the project's earlier commands first") from None
