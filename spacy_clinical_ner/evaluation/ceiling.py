"""The ceiling: the strict F of a model that makes no mistake.

Such a model gives back exactly what it was trained on, as far as prediction-time tokens let it. That output goes the
way of any prediction (spans of a Doc, back to BRAT annotations) and is scored against the original annotations, so
all that conversion loses counts against it. Windows cost nothing: the CRF decodes over whole notes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, NamedTuple, Set, Tuple

from spacy.tokens import Doc, Span
from spacy.util import filter_spans

from spacy_clinical_ner.brat import Alignment, BratDocument, MentionOutcome, Policy, from_doc
from spacy_clinical_ner.evaluation.pairs import DocumentPair, mentions_of
from spacy_clinical_ner.evaluation.scoring import metrics, tally
from spacy_clinical_ner.tokenization import HasTokenizer

# What a tagger sees: `doc.ents` (one chain of tags), or `doc.spans` with one chain of tags per label.
FLAT, PER_LABEL = "flat", "per_label"
VIEWS = (FLAT, PER_LABEL)

_SPANS_KEY = "ceiling"


class LostMention(NamedTuple):
    """A gold mention that no model can find, by the document's name and the mention's T id."""

    document: str
    id: str
    label: str
    reason: str


class Ceiling:
    """Collects documents with `add`; `result` scores the perfect model's output.

    view: FLAT or PER_LABEL. policy: the one that the training documents are made with.
    Raises ValueError for an unknown view.
    """

    def __init__(self, nlp: HasTokenizer, policy: Policy, view: str) -> None:
        if view not in VIEWS:
            raise ValueError(f"view is one of {', '.join(VIEWS)}, not {view!r}")
        self.nlp = nlp
        self.policy = policy
        self.view = view
        self.lost: List[LostMention] = []
        self._pairs: List[DocumentPair] = []

    def add(self, document: BratDocument, alignment: Alignment) -> BratDocument:
        """Count one document, of which `alignment` was made with the policy; gives back the perfect prediction."""
        learned = _learned(alignment, self.view)
        splits = self.policy.misaligned == "split"  # the tokens of training, which prediction does not have
        producible = {
            (outcome.entity.label, *outcome.extent)
            for outcome in alignment.mentions
            if outcome.entity.id in learned and outcome.extent and not (splits and outcome.misaligned)
        }
        predicted = _write_back(self.nlp.tokenizer(document.text), producible, self.view, document.name)
        self._pairs.append(DocumentPair(document, predicted))
        found = mentions_of(predicted)
        for outcome in alignment.mentions:
            entity = outcome.entity
            if (entity.label, entity.pieces) not in found:
                reason = _why(outcome, splits, self.view)
                self.lost.append(LostMention(document.name, entity.id, entity.label, reason))
        return predicted

    def result(self) -> Dict[str, Any]:
        """JSON-ready: {"view", "strict": {as in `scoring.metrics`}, "lost": {"total", "reasons", "mentions"}}.

        Raises ClinicalNerError if no document was added.
        """
        scores = metrics(tally(self._pairs), relations=False, samples=0)["entities"]["strict"]
        reasons = Counter(mention.reason for mention in self.lost)
        return {
            "view": self.view,
            "strict": scores,
            "lost": {
                "total": len(self.lost),
                "reasons": dict(reasons.most_common()),
                "mentions": [mention._asdict() for mention in self.lost],
            },
        }


def _learned(alignment: Alignment, view: str) -> Set[str]:
    """Ids of the mentions that a tagger is trained on."""
    if view == FLAT:
        return {outcome.entity.id for outcome in alignment.mentions if outcome.in_ents}
    chains: Dict[str, Dict[Tuple[int, int], MentionOutcome]] = {}
    for outcome in alignment.mentions:
        if outcome.tokens:
            chains.setdefault(outcome.entity.label, {}).setdefault(outcome.tokens, outcome)
    learned = set()
    for label, by_tokens in chains.items():
        # The same choice as crf_ner makes within each of its chains.
        for span in filter_spans([Span(alignment.doc, *tokens, label=label) for tokens in by_tokens]):
            learned.add(by_tokens[(span.start, span.end)].entity.id)
    return learned


def _write_back(doc: Doc, mentions: Set[Tuple[str, int, int]], view: str, name: str) -> BratDocument:
    """Put (label, start, end) mentions into the Doc as a component would, and read them out again."""
    spans = []
    for label, start, end in sorted(mentions):
        span = doc.char_span(start, end, label=label)
        if span is None:
            raise AssertionError(f"{name}: characters {start} to {end} are not whole tokens at prediction time")
        spans.append(span)
    if view == FLAT:
        doc.ents = spans
    else:
        doc.spans[_SPANS_KEY] = spans
    return from_doc(doc, spans_key=_SPANS_KEY, name=name)


def _why(outcome: MentionOutcome, splits: bool, view: str) -> str:
    if outcome.entity.is_discontinuous:
        return "discontinuous"
    if outcome.misaligned and splits:
        return "begins or ends inside a token"
    if outcome.reason:  # shown with another extent, or not at all
        return outcome.reason
    return outcome.hidden if view == FLAT else "overlaps another mention of its label"
