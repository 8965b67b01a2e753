"""Character-level scores of predicted BRAT documents: the figures that a paper may print.

Everything here compares characters of the original note with characters of the original note. Token-level scores
(spaCy's, while training) are another thing and never stand beside these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray

from spacy_clinical_ner.brat import BratDocument
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.bootstrap import interval, paired_differences, resampled_counts
from spacy_clinical_ner.evaluation.matching import Counts, count_by_label, relaxed_counts, strict_counts
from spacy_clinical_ner.evaluation.metrics import (
    AVERAGES,
    CountTable,
    aligned,
    averages,
    count_table,
    precision_recall_f,
)
from spacy_clinical_ner.evaluation.pairs import (
    DocumentPair,
    mentions_of,
    pair_documents,
    pair_folders,
    relations_of,
)

SCHEMA_VERSION = 1
CONFIDENCE = 0.95


class Tally(NamedTuple):
    """All that the scores of one system need, documents in gold order."""

    strict: CountTable
    relaxed: CountTable
    relations: CountTable
    has_relations: bool  # whether gold or prediction holds any
    missing: List[str]  # names of gold documents for which nothing was predicted
    duplicates: Dict[str, int]  # "gold" and "predicted": mentions that repeat another one's label and fragments
    repaired: Dict[str, int]  # "gold" and "predicted": annotation lines that the reader had to repair


def tally(pairs: Iterable[DocumentPair]) -> Tally:
    """Count hits per document and label. Raises ClinicalNerError if there is no document."""
    strict: List[Mapping[str, Counts]] = []
    relaxed: List[Mapping[str, Counts]] = []
    relations: List[Mapping[str, Counts]] = []
    missing: List[str] = []
    duplicates = {"gold": 0, "predicted": 0}
    repaired = {"gold": 0, "predicted": 0}
    for pair in pairs:
        gold = pair.gold
        predicted = BratDocument(gold.name, gold.text) if pair.predicted is None else pair.predicted
        if pair.predicted is None:
            missing.append(gold.name)
        gold_mentions, predicted_mentions = mentions_of(gold), mentions_of(predicted)
        strict.append(strict_counts(gold_mentions, predicted_mentions))
        relaxed.append(relaxed_counts(gold_mentions, predicted_mentions))
        relations.append(count_by_label(relations_of(gold), relations_of(predicted), lambda key: key.label))
        for side, document, mentions in (
            ("gold", gold, gold_mentions),
            ("predicted", predicted, predicted_mentions),
        ):
            duplicates[side] += len(document.entities) - len(mentions)
            repaired[side] += document.audit.counts()["repaired"]
    if not strict:
        raise ClinicalNerError("there is no gold document to score")
    return Tally(
        count_table(strict),
        count_table(relaxed),
        count_table(relations),
        any(relations),
        missing,
        duplicates,
        repaired,
    )


def evaluate(
    gold: Iterable[BratDocument],
    predicted: Iterable[BratDocument],
    *,
    relations: Optional[bool] = None,
    samples: int = 1000,
    seed: int = 0,
    ignore_extra: bool = False,
) -> Dict[str, Any]:
    """Score documents in memory; see `metrics` for what comes back and `pair_documents` for what is raised."""
    pairs = pair_documents(gold, predicted, ignore_extra=ignore_extra)
    return metrics(tally(pairs), relations=relations, samples=samples, seed=seed)


def evaluate_folders(
    gold: Union[str, Path],
    predicted: Union[str, Path],
    *,
    compare: Union[str, Path, None] = None,
    relations: Optional[bool] = None,
    samples: int = 1000,
    seed: int = 0,
    ignore_extra: bool = False,
    offsets: str = "characters",
    progress: Callable[[Iterable], Iterable] = iter,
) -> Dict[str, Any]:
    """Score a BRAT folder of predictions; see `metrics` for what comes back and `pair_folders` for what is raised.

    compare: predictions of another system on the same gold documents; adds "comparison".
    """

    def counts(folder: Union[str, Path]) -> Tally:
        return tally(pair_folders(gold, folder, ignore_extra=ignore_extra, offsets=offsets, progress=progress))

    ours, theirs = counts(predicted), None if compare is None else counts(compare)
    return metrics(ours, other=theirs, relations=relations, samples=samples, seed=seed)


def metrics(
    ours: Tally,
    *,
    other: Optional[Tally] = None,
    relations: Optional[bool] = None,
    samples: int = 1000,
    seed: int = 0,
) -> Dict[str, Any]:
    """The scores as JSON-ready values. The schema is stable; `schema_version` goes up if a key changes its meaning.

    ```
    {"schema_version": 1, "level": "character",
     "documents": n, "missing_documents": [name, ...],
     "duplicates": {"gold": n, "predicted": n},      mentions counted once although they stand there more than once
     "repaired_lines": {"gold": n, "predicted": n},  for example mention texts that differ from their offsets
     "bootstrap": {"samples": n, "seed": n, "confidence": 0.95, "unit": "document"},
     "entities": {
       "strict": {"micro": S, "macro": S, "weighted": S, "per_type": {label: S, ...}},
       "relaxed": the same},
     "relations": {"strict": the same} or null,
     "comparison": {"entities": {"strict": {"micro": D, "macro": D, "weighted": D}, "relaxed": ...},
                    "relations": {"strict": ...} or null,
                    "missing_documents": [name, ...]} or null}
    S = {"p", "r", "f", "support",                        support: gold mentions (or relations)
         "tp", "fp", "fn",                                micro and per_type only
         "ci_low", "ci_high",                             of f; null if `samples` is 0 or nothing is there
         "p_ci_low", "p_ci_high", "r_ci_low", "r_ci_high"}
    D = {"f", "other_f", "difference", "ci_low", "ci_high", "p_value"}
    ```

    All figures are in [0, 1]. Averages and zero division: see `evaluation.metrics`; intervals and p-values: see
    `evaluation.bootstrap`. An interval leaves out resamples in which neither gold nor prediction holds the label, so
    that a rare label is judged by documents that have it. Relations are directed and right only if label, order and
    both mentions (labels and fragments) agree, so a gold relation whose mentions were not predicted is a miss.

    relations: whether to score relations; by default if gold or a prediction holds any.
    samples: bootstrap resamples, 0 for no intervals (ValueError with `other`). seed: of their random numbers.
    """
    if relations is None:
        relations = ours.has_relations or (other is not None and other.has_relations)
    tables = {"strict": ours.strict, "relaxed": ours.relaxed}
    comparison = None
    if other is not None:
        if not samples:
            raise ValueError("a comparison needs bootstrap samples")
        theirs = {"strict": other.strict, "relaxed": other.relaxed}
        comparison = {
            "entities": {name: _compare(tables[name], theirs[name], samples, seed) for name in tables},
            "relations": {"strict": _compare(ours.relations, other.relations, samples, seed)} if relations else None,
            "missing_documents": other.missing,
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "level": "character",
        "documents": len(ours.strict.values),
        "missing_documents": ours.missing,
        "duplicates": ours.duplicates,
        "repaired_lines": ours.repaired,
        "bootstrap": {"samples": samples, "seed": seed, "confidence": CONFIDENCE, "unit": "document"},
        "entities": {name: _score(table, samples, seed) for name, table in tables.items()},
        "relations": {"strict": _score(ours.relations, samples, seed)} if relations else None,
        "comparison": comparison,
    }


def _score(table: CountTable, samples: int, seed: int) -> Dict[str, Any]:
    counts = table.values.sum(axis=0)
    resampled = resampled_counts(table.values, samples, seed) if samples else np.zeros((0, *counts.shape))
    whole, resampled_averages = averages(counts), averages(resampled)
    resampled_types = precision_recall_f(resampled)
    held = resampled.sum(axis=-1) > 0  # (samples, labels): a resample without the label says nothing about it
    result: Dict[str, Any] = {}
    for name in AVERAGES:
        result[name] = {**_prf(whole[name]), "support": int(counts[:, 0].sum() + counts[:, 2].sum())}
        if name == "micro":
            result[name].update(_counts(counts.sum(axis=0)))
        result[name].update(_interval(resampled_averages[name][held.any(axis=-1)]))
    result["per_type"] = {
        label: {
            **_prf(precision_recall_f(counts[index])),
            "support": int(counts[index, 0] + counts[index, 2]),
            **_counts(counts[index]),
            **_interval(resampled_types[held[:, index], index]),
        }
        for index, label in enumerate(table.labels)
    }
    return result


def _compare(ours: CountTable, theirs: CountTable, samples: int, seed: int) -> Dict[str, Any]:
    ours, theirs = aligned([ours, theirs])
    our_f, their_f = (averages(table.values.sum(axis=0)) for table in (ours, theirs))
    differences = paired_differences(ours.values, theirs.values, samples, seed, CONFIDENCE)
    return {
        name: {"f": float(our_f[name][2]), "other_f": float(their_f[name][2]), **differences[name]._asdict()}
        for name in AVERAGES
    }


def _prf(figures: NDArray[np.float64]) -> Dict[str, float]:
    return dict(zip(("p", "r", "f"), map(float, figures)))


def _counts(counts: NDArray[np.int64]) -> Dict[str, int]:
    return dict(zip(Counts._fields, map(int, counts)))


def _interval(resampled: NDArray[np.float64]) -> Dict[str, Optional[float]]:
    """The interval keys of S for (samples, 3) resampled figures; None if there are no samples."""
    keys = (("p_ci_low", "p_ci_high"), ("r_ci_low", "r_ci_high"), ("ci_low", "ci_high"))
    if not len(resampled):
        return {key: None for pair in keys for key in pair}
    low, high = interval(resampled, CONFIDENCE)
    return {key: float(end[axis]) for axis, pair in enumerate(keys) for key, end in zip(pair, (low, high))}
