"""Where a system is strong and weak: its figures by length of mention and note, and by what training showed of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from spacy_clinical_ner.brat import BratDocument
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.metrics import precision_recall_f
from spacy_clinical_ner.evaluation.pairs import mentions_of

SEEN, OTHER_LABEL, UNSEEN = "seen", "seen with another label", "unseen"
_MENTION_LENGTHS = (1, 2, 3, 4, 7)  # upper edges, in tokens
_TIMES = (0, 1, 4, 19)  # upper edges: how often a mention stood in training under its label


class TrainingMentions:
    """How often each text was a mention of each label in the training notes; white space and case do not count."""

    def __init__(self, documents: Iterable[BratDocument]) -> None:
        self._labels: Dict[str, Counter] = defaultdict(Counter)
        self.documents = 0
        for document in documents:
            self.documents += 1
            for mention in mentions_of(document):
                self._labels[_text(document.text, mention)][mention.label] += 1

    def times(self, text: str, mention: Mention) -> Tuple[int, str]:
        """How often the mention was one of its label, and SEEN, OTHER_LABEL or UNSEEN."""
        labels = self._labels.get(_text(text, mention), Counter())
        times = labels[mention.label]
        return times, SEEN if times else OTHER_LABEL if labels else UNSEEN


class Strata:
    """Strict counts by stratum; gold and predicted mentions stand in the stratum that they themselves belong to."""

    def __init__(self, training: Optional[TrainingMentions]) -> None:
        self._training = training
        self._counts: Dict[str, Dict[str, List[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))

    def add(
        self, text: str, gold: FrozenSet[Mention], predicted: FrozenSet[Mention], lengths: Mapping[Mention, int]
    ) -> None:
        """lengths: tokens of each mention of gold and prediction."""
        for column, mentions in enumerate((gold & predicted, predicted - gold, gold - predicted)):
            for mention in mentions:
                self._counts["mention_tokens"][_bucket(lengths[mention], _MENTION_LENGTHS, first=1)][column] += 1
                if self._training is not None:
                    times, status = self._training.times(text, mention)
                    self._counts["in_training"][status][column] += 1
                    self._counts["times_in_training"][_bucket(times, _TIMES)][column] += 1

    def result(self, notes: Sequence[Any]) -> Dict[str, List[Dict[str, Any]]]:
        """{"mention_tokens", "note_characters", and with training "in_training", "times_in_training"}: rows in order.

        notes: rows with `characters`, `tp`, `fp` and `fn`; they are parted into quarters by length.
        """
        orders = {
            "mention_tokens": _names(_MENTION_LENGTHS, first=1),
            "in_training": [SEEN, OTHER_LABEL, UNSEEN],
            "times_in_training": _names(_TIMES),
        }
        result = {
            name: [_row(stratum, rows[stratum]) for stratum in orders[name] if stratum in rows]
            for name, rows in self._counts.items()
        }
        result["note_characters"] = _quarters(notes)
        return result


def _quarters(notes: Sequence[Any]) -> List[Dict[str, Any]]:
    lengths = np.array([note.characters for note in notes])
    edges = sorted(set(np.quantile(lengths, (0.25, 0.5, 0.75, 1.0), method="higher").tolist())) if len(notes) else []
    rows, below = [], -1
    for edge in edges:
        inside = [note for note in notes if below < note.characters <= edge]
        shortest = min(note.characters for note in inside)
        counts = [sum(getattr(note, side) for note in inside) for side in ("tp", "fp", "fn")]
        rows.append({**_row(f"{shortest:,} to {edge:,}", counts), "notes": len(inside)})
        below = edge
    return rows


def _row(name: str, counts: Sequence[int]) -> Dict[str, Any]:
    p, r, f = map(float, precision_recall_f(np.array(counts)))
    tp, fp, fn = map(int, counts)
    return {"stratum": name, "p": p, "r": r, "f": f, "support": tp + fn, "tp": tp, "fp": fp, "fn": fn}


def _bucket(value: int, edges: Sequence[int], first: int = 0) -> str:
    names = _names(edges, first)
    return names[next((i for i, edge in enumerate(edges) if value <= edge), len(edges))]


def _names(edges: Sequence[int], first: int = 0) -> List[str]:
    names, low = [], first
    for edge in edges:
        names.append(str(edge) if low == edge else f"{low} to {edge}")
        low = edge + 1
    return [*names, f"{low} or more"]


def _text(text: str, mention: Mention) -> str:
    return " ".join(" ".join(text[start:end] for start, end in mention.fragments).casefold().split())
