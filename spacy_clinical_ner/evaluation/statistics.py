"""What is in a BRAT folder, in numbers: no word of a note leaves this module."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain
from typing import Any, Dict, Iterable, List, Sequence, Set, Tuple

import numpy as np
from spacy.tokens import Doc

from spacy_clinical_ner.brat import Alignment, BratDocument, Policy, align
from spacy_clinical_ner.evaluation.ceiling import VIEWS, Ceiling
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.pairs import mentions_of
from spacy_clinical_ner.tokenization import HasTokenizer
from spacy_clinical_ner.windows.sentences import sentence_ends

OVERLAP_KINDS = ("same_extent", "nested", "crossing")
SCHEMA_VERSION = 1


def corpus_report(nlp: HasTokenizer, documents: Iterable[BratDocument], policy: Policy = Policy()) -> Dict[str, Any]:
    """Statistics and ceilings of a corpus as JSON-ready values; `nlp` gives the tokens.

    ```
    {"schema_version": 1, "documents", "documents_without_ann", "characters",
     "tokens",                  without white space
     "sentences",               sentence-like units: they end at . ! ? ; and their like, and at line ends
     "sentence_lengths": {tokens: how many},
     "lines": {kind: how many},  T, E, R, *, A, M, N, #
     "repaired_lines",
     "entities": {"total", "duplicates", "discontinuous", "misaligned",
                  "labels": {label: {"count", "documents", "characters": L, "tokens": L}}},
     "mention_lengths": {"characters": {length: how many}, "tokens": {length: how many}},
     "overlaps": {"same_label": {"same_extent", "nested", "crossing"}, "different_label": ..., "mentions"},
     "relations": {label: how many}, "equivalences": ..., "events": ..., "attributes": ...,
     "policy": {"overlap", "misaligned", "discontinuous"},
     "ceiling": {"flat": C, "per_label": C}}
    L = {"mean", "median", "max"}; C: see `ceiling.Ceiling.result`
    ```

    Entities are unique mentions (label and fragments); "total" counts the lines, "duplicates" the repeated ones.
    "misaligned" begin or end inside a token. Overlaps are pairs of mentions whose outer extents share a character;
    "mentions" is the number of mentions in such pairs.

    Raises ClinicalNerError if there is no document.
    """
    corpus = _Corpus(nlp, policy)
    for document in documents:
        corpus.add(document, align(nlp, document, policy))
    return corpus.result()


class _Corpus:
    def __init__(self, nlp: HasTokenizer, policy: Policy) -> None:
        self.nlp = nlp
        self.policy = policy
        self.totals: Counter = Counter()
        self.lines: Counter = Counter()
        self.sentence_lengths: Counter = Counter()
        self.labels_of: Dict[str, Counter] = defaultdict(Counter)  # kind of line -> labels
        self.documents_with: Counter = Counter()
        self.lengths: Dict[str, Dict[str, List[int]]] = defaultdict(lambda: {"characters": [], "tokens": []})
        self.overlaps: Counter = Counter()
        self.ceilings = {view: Ceiling(nlp, policy, view) for view in VIEWS}

    def add(self, document: BratDocument, alignment: Alignment) -> None:
        doc = self.nlp.tokenizer(document.text)  # the tokens of prediction: none of them split for a mention
        mentions = mentions_of(document)
        self.totals.update(
            documents=1,
            without_ann=not document.audit.has_ann,
            characters=len(document.text),
            tokens=sum(not token.is_space for token in doc),
            repaired=document.audit.counts()["repaired"],
            mention_lines=len(document.entities),
            duplicates=len(document.entities) - len(mentions),
            discontinuous=sum(len(mention.fragments) > 1 for mention in mentions),
            misaligned=len({(o.entity.label, o.entity.pieces) for o in alignment.mentions if o.misaligned}),
        )
        self.sentence_lengths.update(sentence_lengths(doc))
        for line in document.annotations():
            self.lines[line.id[0]] += 1
            self.labels_of[line.id[0]][line.label] += 1
        self.documents_with.update({mention.label for mention in mentions})
        for mention, tokens in zip(mentions, token_lengths(doc, list(mentions))):
            self.lengths[mention.label]["characters"].append(sum(end - start for start, end in mention.fragments))
            self.lengths[mention.label]["tokens"].append(tokens)
        self.overlaps.update(count_overlaps(mentions))
        for ceiling in self.ceilings.values():
            ceiling.add(document, alignment)

    def result(self) -> Dict[str, Any]:
        ceilings = {view: ceiling.result() for view, ceiling in self.ceilings.items()}
        totals = self.totals
        by_frequency = sorted(self.lengths, key=lambda label: (-len(self.lengths[label]["tokens"]), label))
        return {
            "schema_version": SCHEMA_VERSION,
            "documents": totals["documents"],
            "documents_without_ann": totals["without_ann"],
            "characters": totals["characters"],
            "tokens": totals["tokens"],
            "sentences": sum(self.sentence_lengths.values()),
            "sentence_lengths": _histogram(self.sentence_lengths),
            "lines": dict(self.lines.most_common()),
            "repaired_lines": totals["repaired"],
            "entities": {
                "total": totals["mention_lines"],
                "duplicates": totals["duplicates"],
                "discontinuous": totals["discontinuous"],
                "misaligned": totals["misaligned"],
                "labels": {
                    label: {
                        "count": len(self.lengths[label]["tokens"]),
                        "documents": self.documents_with[label],
                        **{unit: _summary(values) for unit, values in self.lengths[label].items()},
                    }
                    for label in by_frequency
                },
            },
            "mention_lengths": {
                unit: _histogram(Counter(chain.from_iterable(values[unit] for values in self.lengths.values())))
                for unit in ("characters", "tokens")
            },
            "overlaps": {
                **{
                    labels: {kind: self.overlaps[labels, kind] for kind in OVERLAP_KINDS}
                    for labels in ("same_label", "different_label")
                },
                "mentions": self.overlaps["mentions", ""],
            },
            "relations": dict(self.labels_of["R"].most_common()),
            "equivalences": dict(self.labels_of["*"].most_common()),
            "events": dict(self.labels_of["E"].most_common()),
            "attributes": dict((self.labels_of["A"] + self.labels_of["M"]).most_common()),
            "policy": {
                "overlap": self.policy.overlap,
                "misaligned": self.policy.misaligned,
                "discontinuous": self.policy.discontinuous,
            },
            "ceiling": ceilings,
        }


def sentence_lengths(doc: Doc) -> List[int]:
    """Tokens of each sentence-like unit, white space left out; a unit of nothing but signs is none."""
    lengths = []
    start = 0
    for end in sentence_ends(doc):
        words = [token for token in doc[start:end] if not token.is_space]
        if any(not token.is_punct for token in words):
            lengths.append(len(words))
        start = int(end)
    return lengths


def token_lengths(doc: Doc, mentions: Sequence[Mention]) -> List[int]:
    """How many tokens, white space left out, each mention touches."""
    words = [token for token in doc if not token.is_space]
    starts = np.array([token.idx for token in words], dtype="int64")
    ends = np.array([token.idx + len(token) for token in words], dtype="int64")
    lengths = []
    for mention in mentions:
        touched: Set[int] = set()
        for start, end in mention.fragments:
            touched.update(range(int(np.searchsorted(ends, start, "right")), int(np.searchsorted(starts, end))))
        lengths.append(len(touched))
    return lengths


def count_overlaps(mentions: Iterable[Mention]) -> Dict[Tuple[str, str], int]:
    """Overlapping pairs by (same_label or different_label, kind); under ("mentions", "") the mentions in them.

    Kinds, of the outer extents: same_extent, nested (one within the other) or crossing.
    """
    counts: Counter = Counter()
    involved: Set[int] = set()
    still_open: List[Tuple[int, int, int, str]] = []
    extents = sorted(
        (mention.fragments[0][0], -mention.fragments[-1][1], index, mention.label)
        for index, mention in enumerate(mentions)
    )
    for start, negative_end, index, label in extents:
        end = -negative_end
        still_open = [other for other in still_open if other[1] > start]
        for other_start, other_end, other_index, other_label in still_open:
            labels = "same_label" if label == other_label else "different_label"
            if (start, end) == (other_start, other_end):
                kind = "same_extent"
            elif end <= other_end:  # sorted: the other one starts no later, and is the longer one at the same start
                kind = "nested"
            else:
                kind = "crossing"
            counts[labels, kind] += 1
            involved.update((index, other_index))
        still_open.append((start, end, index, label))
    counts["mentions", ""] = len(involved)
    return counts


def _histogram(counter: Counter) -> Dict[str, int]:
    """JSON has no whole numbers as keys."""
    return {str(length): counter[length] for length in sorted(counter)}


def _summary(values: Sequence[int]) -> Dict[str, float]:
    return {"mean": float(np.mean(values)), "median": float(np.median(values)), "max": int(max(values))}
