"""Relation scores while training: directed and strict."""

from functools import partial
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Tuple

import numpy as np
from spacy.scorer import PRFScore
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.extensions import Relation, get_relations
from spacy_clinical_ner.windows.sentences import sentence_ends

# Upper ends of the distance classes, in tokens between the mentions.
DISTANCES = (5, 20, 60)

Key = Tuple[str, Tuple[int, int, str], Tuple[int, int, str]]


@registry.scorers("spacy-clinical-ner.RelationScorer.v1")
def make_relation_scorer(symmetric: List[str] = []) -> Callable[..., Dict[str, Any]]:  # noqa: B006 - see encoders.py
    """Score `doc._.relations`: a relation is right if its label, its order and both mentions with their offsets and
    labels are.

    With gold mentions on the predicted Docs (`gold_mentions` of the reader BratCorpus.v1) these are the scores of
    relations alone; with predicted ones they are end to end. A gold relation that no candidate covers is a miss.
    symmetric: labels whose order does not count, beside those that are symmetric to the component.

    Gives rel_micro_p, _r, _f; rel_macro_f, the mean over labels that gold has; rel_per_type; rel_by_distance, by
    tokens between the mentions; and rel_by_sentence ("same" or "cross"). All None if there is no gold relation.
    """
    return partial(_score, fixed=frozenset(symmetric))


def _score(
    examples: Iterable[Example], fixed: FrozenSet[str], symmetric: Iterable[str] = (), **kwargs: Any
) -> Dict[str, Any]:
    return score_relations(examples, fixed.union(symmetric))


def score_relations(examples: Iterable[Example], symmetric: Iterable[str] = ()) -> Dict[str, Any]:
    """See `make_relation_scorer`. Offsets are those of characters, so that tokens may differ."""
    symmetric = frozenset(symmetric)
    total = PRFScore()
    per_type: Dict[str, PRFScore] = {}
    by_distance = {_distance_name(i): PRFScore() for i in range(len(DISTANCES) + 1)}
    by_sentence = {"same": PRFScore(), "cross": PRFScore()}
    for example in examples:
        gold, predicted = (_keys(doc, symmetric) for doc in (example.reference, example.predicted))
        for relations, doc in ((gold, example.reference), (predicted, example.predicted)):
            edges = sentence_ends(doc)
            for key, relation in relations.items():
                if doc is example.predicted and key in gold:
                    continue  # a hit, which was counted with the gold relation
                kind = "fn" if doc is example.reference else "fp"
                if key in gold and key in predicted:
                    kind = "tp"
                sentences = np.searchsorted(edges, [relation.head.start, relation.tail.start], side="right")
                for score in (
                    total,
                    per_type.setdefault(key[0], PRFScore()),
                    by_distance[_distance_name(_distance_class(relation))],
                    by_sentence["same" if sentences[0] == sentences[1] else "cross"],
                ):
                    setattr(score, kind, getattr(score, kind) + 1)
    names = ("micro_p", "micro_r", "micro_f", "macro_f", "per_type", "by_distance", "by_sentence")
    if not total.tp + total.fn:
        return {f"rel_{name}": None for name in names}
    supported = [score.fscore for score in per_type.values() if score.tp + score.fn]
    values = (
        total.precision,
        total.recall,
        total.fscore,
        sum(supported) / len(supported),
        *({name: score.to_dict() for name, score in kind.items()} for kind in (per_type, by_distance, by_sentence)),
    )
    return {f"rel_{name}": value for name, value in zip(names, values)}


def _keys(doc: Doc, symmetric: Iterable[str]) -> Dict[Key, Relation]:
    result: Dict[Key, Relation] = {}
    for relation in get_relations(doc):
        head, tail = ((span.start_char, span.end_char, span.label_) for span in (relation.head, relation.tail))
        if relation.label in symmetric and tail < head:
            head, tail = tail, head
        result.setdefault((relation.label, head, tail), relation)
    return result


def _distance_class(relation: Relation) -> int:
    head, tail = relation.head, relation.tail
    gap = max(head.start, tail.start) - min(head.end, tail.end)
    return int(np.searchsorted(DISTANCES, gap))


def _distance_name(index: int) -> str:
    low = DISTANCES[index - 1] + 1 if index else 0
    return f"{low}+" if index == len(DISTANCES) else f"{low}-{DISTANCES[index]}"
