"""From probabilities of candidate pairs to relations."""

from __future__ import annotations

from typing import Collection, List, NamedTuple, Sequence

import numpy as np
from numpy.typing import NDArray

from spacy_clinical_ner.extensions import Relation
from spacy_clinical_ner.relations.mentions import Mentions, Pairs


class ScoredPairs(NamedTuple):
    """Candidates of a Doc with the probability of each label; those of a softmax leave room for "no relation".

    probabilities: (pairs, labels); 0 for symmetric labels of pairs whose head stands behind the tail.
    """

    mentions: Mentions
    pairs: Pairs
    probabilities: NDArray[np.float32]


def one_way(
    pairs: Pairs, probabilities: NDArray[np.float32], labels: Sequence[str], symmetric: Collection[str]
) -> NDArray[np.float32]:
    """Set symmetric labels of pairs in reverse order to 0: the other order of the pair has them."""
    columns = np.array([label in symmetric for label in labels], dtype=bool)
    return np.where((pairs.head > pairs.tail)[:, None] & columns, np.float32(0), probabilities)


def decode(scored: ScoredPairs, labels: Sequence[str], threshold: float, multi_label: bool) -> List[Relation]:
    """The relations that reach the threshold, and of a pair the most probable one only unless `multi_label`.

    In the order of head, tail and label; `score` is the probability.
    """
    mentions, pairs, probabilities = scored
    if multi_label:
        rows, columns = np.nonzero(probabilities >= threshold)
    else:
        columns = probabilities.argmax(axis=1)
        rows = np.flatnonzero(probabilities[np.arange(len(columns)), columns] >= threshold)
        columns = columns[rows]
    heads, tails, scores = pairs.head[rows], pairs.tail[rows], probabilities[rows, columns]
    return [
        Relation(mentions.spans[head], mentions.spans[tail], labels[column], score)
        for head, tail, column, score in zip(heads.tolist(), tails.tolist(), columns.tolist(), scores.tolist())
        if score > 0
    ]
