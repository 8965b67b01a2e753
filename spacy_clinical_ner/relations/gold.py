"""Gold mentions and relations, carried from a reference Doc over to the tokens of the predicted one."""

from __future__ import annotations

from typing import Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinical_ner.extensions import get_relations
from spacy_clinical_ner.relations.mentions import MentionKey, Mentions, Pairs, get_spans, mention_key


class Gold(NamedTuple):
    """What a reference says, on the tokens of the predicted Doc.

    spans: mentions whose edges are edges of tokens there. relations: head, tail and label, each once; symmetric ones
    with the earlier mention as head. lost: relations that cannot be shown there, because a mention cannot.
    """

    spans: List[Span]
    relations: List[Tuple[MentionKey, MentionKey, str]]
    lost: int


def gold_on_predicted(example: Example, spans_key: Optional[str], symmetric: Collection[str] = ()) -> Gold:
    """Gold mentions (`doc.ents` or `doc.spans[spans_key]`) and relations of an Example.

    Relations between mentions that are not among those, say because `doc.ents` had no room for them, are lost.
    """
    reference, predicted = example.reference, example.predicted
    same_text = predicted.text == reference.text  # spaCy puts a Doc's text together each time it is asked for
    carried: Dict[MentionKey, Span] = {}
    for span in get_spans(reference, spans_key):
        found = _carry(example, span, same_text)
        if found is not None:
            carried[mention_key(span)] = found
    relations: Dict[Tuple[MentionKey, MentionKey, str], None] = {}
    lost = 0
    for relation in get_relations(reference):
        ends = [carried.get(mention_key(span)) for span in (relation.head, relation.tail)]
        if ends[0] is None or ends[1] is None:
            lost += 1
            continue
        head, tail = (mention_key(span) for span in ends if span is not None)
        first, second = canonical(head, tail, relation.label, symmetric)
        relations[first, second, relation.label] = None
    spans = [Span(predicted, span.start, span.end, label=span.label) for span in carried.values()]
    return Gold(spans, list(relations), lost)


def canonical(
    head: MentionKey, tail: MentionKey, label: str, symmetric: Collection[str]
) -> Tuple[MentionKey, MentionKey]:
    """Head and tail; of a symmetric label the earlier mention first."""
    return (tail, head) if label in symmetric and tail < head else (head, tail)


def targets(
    mentions: Mentions,
    pairs: Pairs,
    relations: Sequence[Tuple[MentionKey, MentionKey, str]],
    labels: Sequence[str],
) -> Tuple[NDArray[np.bool_], int]:
    """(pairs, labels) True where a relation holds, and how many of the relations no pair covers.

    The pairs are sorted by head and tail. Raises KeyError for a label that is not in `labels`.
    """
    index, column = mentions.index(), {label: i for i, label in enumerate(labels)}
    codes = pairs.head * len(mentions) + pairs.tail
    matrix = np.zeros((len(codes), len(labels)), dtype=bool)
    missed = 0
    for head, tail, label in relations:
        code = index[head] * len(mentions) + index[tail] if head in index and tail in index else -1
        row = int(np.searchsorted(codes, code))
        if row < len(codes) and codes[row] == code:
            matrix[row, column[label]] = True
        else:
            missed += 1
    return matrix, missed


def _carry(example: Example, span: Span, same_text: bool) -> Optional[Span]:
    """The span of the predicted Doc with the same characters, or None."""
    if same_text:
        return example.predicted.char_span(span.start_char, span.end_char, label=span.label)
    found = example.get_aligned_spans_y2x([span], allow_overlap=True)
    return found[0] if found else None
