"""Relations by look-up: what was most often true of such a pair in the training notes. No words, no weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Dict, Iterable, List, Tuple

import numpy as np
from spacy.tokens import Doc

from spacy_clinical_ner.extensions import Relation, get_relations, set_relations
from spacy_clinical_ner.relations.candidates import within
from spacy_clinical_ner.relations.mentions import Mentions, mention_key

Key = Tuple[str, str, bool, int]

MAX_DISTANCE = 100
# Upper ends of the distance classes, in tokens between the mentions.
DISTANCES = np.array([0, 1, 2, 3, 4, 5, 7, 10, 15, 25, 50])


class LookUp:
    """The most frequent label, if any, of (type of head, type of tail, order, distance).

    spans_key: mentions are those of `doc.spans[spans_key]`.
    """

    def __init__(self, spans_key: str = "sc") -> None:
        self.spans_key = spans_key
        self.table: Dict[Key, str] = {}

    def learn(self, docs: Iterable[Doc]) -> None:
        """Count the pairs of all Docs, those without a relation too, and keep what most pairs of a kind are."""
        counts: Dict[Key, Counter] = defaultdict(Counter)
        for doc in docs:
            labels = {(mention_key(r.head), mention_key(r.tail)): r.label for r in get_relations(doc)}
            for head, tail, key in self._pairs(doc):
                counts[key][labels.get((mention_key(head), mention_key(tail)), "")] += 1
        for key, counter in counts.items():
            (label, _), *_ = counter.most_common(1)
            if label:
                self.table[key] = label

    def __call__(self, doc: Doc) -> Doc:
        """Replace the relations of a Doc that has mentions."""
        found: List[Relation] = []
        for head, tail, key in self._pairs(doc):
            if key in self.table:
                found.append(Relation(head, tail, self.table[key]))
        set_relations(doc, found)
        return doc

    def _pairs(self, doc: Doc):
        mentions = Mentions.of(doc, doc.spans.get(self.spans_key, ()))
        pairs = within(mentions, MAX_DISTANCE)
        distances = np.searchsorted(DISTANCES, mentions.gaps(pairs))
        for head, tail, distance in zip(pairs.head.tolist(), pairs.tail.tolist(), distances.tolist()):
            one, other = mentions.spans[head], mentions.spans[tail]
            yield one, other, (one.label_, other.label_, head < tail, distance)
