"""From folders of annotations to everything the report says, as one JSON-ready dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Union

from spacy_clinical_ner import __version__
from spacy_clinical_ner.brat import list_notes, read_document
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.pairs import pair_folders
from spacy_clinical_ner.evaluation.report.analysis import Candidates, NoteErrors, SystemAnalysis
from spacy_clinical_ner.evaluation.report.comparison import compare_labels, most_different
from spacy_clinical_ner.evaluation.report.strata import TrainingMentions
from spacy_clinical_ner.evaluation.report.training import read_training
from spacy_clinical_ner.evaluation.scoring import Tally, metrics, tally

SCHEMA_VERSION = 1
PathLike = Union[str, Path]


class Collected(NamedTuple):
    """figures: JSON-ready, without a character of any note. notes: of the first system, only if asked for."""

    figures: Dict[str, Any]
    notes: List[NoteErrors]


def collect(
    gold: PathLike,
    predictions: Sequence[PathLike],
    *,
    names: Sequence[str] = (),
    relations: Optional[bool] = None,
    train: Optional[PathLike] = None,
    training: Optional[PathLike] = None,
    candidates: Sequence[Candidates] = (),
    samples: int = 1000,
    seed: int = 0,
    ignore_extra: bool = False,
    show_text: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Collected:
    """Score and analyse folders of predictions.

    ```
    {"schema_version": 1, "version", "documents",
     "systems": [{"name", "metrics": see `scoring.metrics`, ...see `SystemAnalysis.result`}],
     "comparisons": [{"name", "other", "averages": D of `scoring.metrics`, "labels": [...], "relation_labels": [...],
                      "notes": [...]}],           the first system against each of the others
     "train_documents": n or null, "training": see `read_training` or null}
    ```

    names: of the systems; by default those of their folders. train: folder of the notes that the system was trained
    on, for figures by how often a mention stood there. training: folder that `spacy train` wrote. candidates: of the
    first systems, which pairs of mentions they look at (see `SystemAnalysis`); the others' are not known.
    Raises what `pair_folders` raises, and ClinicalNerError for names that are not as many as the folders.
    """
    names = list(names) or _names(predictions)
    if len(names) != len(predictions):
        raise ClinicalNerError(f"{len(predictions)} folders of predictions need as many names, not {len(names)}")
    known = None
    if train is not None:
        known = TrainingMentions(read_document(note) for note in progress(list_notes(train)))
    analyses, tallies = [], []
    for number, folder in enumerate(predictions):
        looked_at = candidates[number] if number < len(candidates) else None
        analysis = SystemAnalysis(known, looked_at, keep_text=show_text and number == 0)
        pairs = pair_folders(gold, folder, ignore_extra=ignore_extra, progress=progress)
        tallies.append(tally(analysis.watch(pairs)))
        analyses.append(analysis)
    if relations is None:
        relations = any(each.has_relations for each in tallies)
    systems = [
        {
            "name": name,
            "metrics": metrics(counted, relations=relations, samples=samples, seed=seed),
            **analysis.result(),
        }
        for name, counted, analysis in zip(names, tallies, analyses)
    ]
    figures = {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "documents": systems[0]["metrics"]["documents"],
        "systems": systems,
        "comparisons": [
            _comparison(systems[0], tallies[0], system, counted, relations, samples, seed)
            for system, counted in zip(systems[1:], tallies[1:])
        ],
        "train_documents": None if known is None else known.documents,
        "training": None if training is None else read_training(Path(training)),
    }
    return Collected(figures, analyses[0].notes)


def _comparison(
    first: Dict[str, Any], ours: Tally, other: Dict[str, Any], theirs: Tally, relations: bool, samples: int, seed: int
) -> Dict[str, Any]:
    averages = metrics(ours, other=theirs, relations=relations, samples=samples, seed=seed)["comparison"]
    return {
        "name": first["name"],
        "other": other["name"],
        "averages": averages,
        "labels": compare_labels(ours.strict, theirs.strict, samples, seed),
        "relation_labels": compare_labels(ours.relations, theirs.relations, samples, seed) if relations else [],
        "notes": most_different(first["notes"], other["notes"]),
    }


def _names(predictions: Sequence[PathLike]) -> List[str]:
    """Names of folders; with their parents' names where they would be alike."""
    paths = [Path(folder).resolve() for folder in predictions]
    depth = 1
    while depth < 4 and len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]
