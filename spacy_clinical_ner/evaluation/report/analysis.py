"""One pass over the notes of one system: every figure of the report that `clinical-ner evaluate` does not have."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from spacy_clinical_ner.brat import BratDocument
from spacy_clinical_ner.evaluation.confusion import NONE, matrix, mention_cells, token_cells
from spacy_clinical_ner.evaluation.error_kinds import (
    MentionError,
    RelationError,
    count_kinds,
    mention_errors,
    relation_errors,
)
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.pairs import DocumentPair, RelationKey, mentions_of, relations_of
from spacy_clinical_ner.evaluation.report.confidence import Confidences
from spacy_clinical_ner.evaluation.report.strata import Strata, TrainingMentions
from spacy_clinical_ner.tokenization import token_offsets

_CONFIDENCE = re.compile(r"(?:^|\s)confidence=(\d+(?:\.\d+)?)")

Candidates = Callable[[BratDocument], Set[Tuple[Mention, Mention]]]


class NoteRow(NamedTuple):
    """One note in numbers. name: its relative path. characters: its length. tp, fp, fn: strict, of mentions."""

    name: str
    characters: int
    tp: int
    fp: int
    fn: int


class NoteErrors(NamedTuple):
    """All that is shown of one note when its text is asked for."""

    document: BratDocument
    gold: FrozenSet[Mention]
    predicted: FrozenSet[Mention]
    mentions: List[MentionError]
    relations: List[RelationError]
    gold_relations: FrozenSet[RelationKey]
    predicted_relations: FrozenSet[RelationKey]


class SystemAnalysis:
    """What one system did right and wrong, note by note.

    training: the mentions of the training notes, if figures by how often they stood there are wanted.
    candidates: the ordered pairs among the mentions of a prediction that the system looks at, if they are known.
    keep_text: keep the notes themselves in `notes`, for a report that shows them.
    """

    def __init__(
        self,
        training: Optional[TrainingMentions] = None,
        candidates: Optional[Candidates] = None,
        keep_text: bool = False,
    ) -> None:
        self.rows: List[NoteRow] = []
        self.notes: List[NoteErrors] = []
        self.strata = Strata(training)
        self.confidences = Confidences()
        self._candidates = candidates
        self._keep_text = keep_text
        self._mention_cells: Counter = Counter()
        self._token_cells: Counter = Counter()
        self._mention_kinds: Dict[str, Dict[str, Dict[str, int]]] = {}
        self._relation_kinds: Dict[str, Dict[str, Dict[str, int]]] = {}

    def watch(self, pairs: Iterable[DocumentPair]) -> Iterator[DocumentPair]:
        """Hand the pairs through and take note of each."""
        for pair in pairs:
            self.add(pair)
            yield pair

    def add(self, pair: DocumentPair) -> None:
        document = pair.gold
        predicted_document = pair.predicted or BratDocument(document.name, document.text)
        gold, predicted = mentions_of(document), mentions_of(predicted_document)
        tokens = [(start, end) for start, end in token_offsets(document.text) if not document.text[start:end].isspace()]
        errors = mention_errors(gold, predicted)
        gold_relations, predicted_relations = relations_of(document), relations_of(predicted_document)
        candidates = self._candidates(predicted_document) if self._candidates and gold_relations else None
        of_relations = relation_errors(gold_relations, predicted_relations, predicted, gold, candidates)
        hits = len(gold & predicted)
        self.rows.append(NoteRow(document.name, len(document.text), hits, len(predicted) - hits, len(gold) - hits))
        _add_counts(self._mention_kinds, count_kinds(errors))
        _add_counts(self._relation_kinds, count_kinds(of_relations))
        self._mention_cells.update(mention_cells(gold, predicted))
        self._token_cells.update(token_cells(gold, predicted, tokens))
        lengths = token_lengths(gold | predicted, tokens)
        self.strata.add(document.text, gold, predicted, lengths)
        self.confidences.add(confidence_of(predicted_document), gold, len(predicted))
        self.confidences.gold += len(gold)
        if self._keep_text:
            sides = (gold, predicted, errors, of_relations, gold_relations, predicted_relations)
            self.notes.append(NoteErrors(document, *sides))

    def result(self) -> Dict[str, Any]:
        """JSON-ready: "errors", "relation_errors", "confusion", "strata", "confidence", "notes".

        errors: {label: {kind: {"fn", "fp"}}}; they sum to the strict fn and fp of each label.
        confusion: {"labels", "mentions", "tokens"}: matrices with gold as rows and "none" last in both.
        """
        cells = [*self._mention_cells, *self._token_cells]
        labels = sorted({label for pair in cells for label in pair} - {NONE})
        return {
            "errors": self._mention_kinds,
            "relation_errors": self._relation_kinds,
            "confusion": {
                "labels": labels,
                "mentions": matrix(self._mention_cells, labels),
                "tokens": matrix(self._token_cells, labels),
            },
            "strata": self.strata.result(self.rows),
            "confidence": self.confidences.result(),
            "notes": [row._asdict() for row in self.rows],
        }


def token_lengths(mentions: Iterable[Mention], tokens: Sequence[Tuple[int, int]]) -> Dict[Mention, int]:
    """How many tokens each mention touches; tokens: sorted character offsets."""
    starts, ends = [start for start, _ in tokens], [end for _, end in tokens]
    return {
        mention: sum(bisect_left(starts, end) - bisect_right(ends, start) for start, end in mention.fragments)
        for mention in mentions
    }


def confidence_of(document: BratDocument) -> Dict[Mention, float]:
    """The confidence of mentions that have one: `annotate --confidence` writes it as an AnnotatorNotes line."""
    by_id = {entity.id: Mention(entity.label, entity.pieces) for entity in document.entities}
    found: Dict[Mention, float] = {}
    for note in document.notes:
        match = _CONFIDENCE.search(note.text or "")
        if match and note.target in by_id:
            mention = by_id[note.target]
            found[mention] = max(found.get(mention, 0.0), min(1.0, float(match.group(1))))
    return found


def _add_counts(total: Dict[str, Dict[str, Dict[str, int]]], more: Dict[str, Dict[str, Dict[str, int]]]) -> None:
    for label, kinds in more.items():
        row = total.setdefault(label, {})
        for kind, sides in kinds.items():
            cell = row.setdefault(kind, {"fn": 0, "fp": 0})
            for side, count in sides.items():
                cell[side] += count
