"""Token-level weighted F, beside the character-level scores: some papers print it where one expects entities.

A mention of ten tokens of which nine are found is a miss and a false alarm at entity level, and nine hits of ten here;
so these figures are higher and never stand in the same column.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from pathlib import Path
from typing import Collection, Dict, Iterable, List

from spacy_clinical_ner.evaluation import Counts, DocumentPair, Mention, pair_folders
from spacy_clinical_ner.evaluation.bootstrap import interval, resampled_counts
from spacy_clinical_ner.evaluation.metrics import averages, count_table
from spacy_clinical_ner.evaluation.pairs import mentions_of
from spacy_clinical_ner.tokenization import token_offsets


def token_scores(gold: Path, predicted: Path, samples: int = 1000, seed: int = 0) -> Dict[str, float]:
    """`weighted_token_scores` of two BRAT folders."""
    return weighted_token_scores(pair_folders(gold, predicted), samples, seed)


def weighted_token_scores(pairs: Iterable[DocumentPair], samples: int = 1000, seed: int = 0) -> Dict[str, float]:
    """Precision, recall and F over tokens: the mean of the labels' own figures, weighted with their gold tokens.

    Tokens are those of our clinical tokenizer, white space left out; a token's label is the type of its mention,
    without B or I, and tokens outside mentions have none. So the figures are those of scikit-learn's
    `average="weighted"` over all types that gold has. Returns {"p", "r", "f", "ci_low", "ci_high", "support"}; the
    95% interval of F is a bootstrap over documents.
    """
    documents = []
    for pair in pairs:
        text = pair.gold.text
        gold = token_labels(text, mentions_of(pair.gold))
        predicted = token_labels(text, mentions_of(pair.predicted)) if pair.predicted is not None else {}
        documents.append(_count(gold, predicted))
    counts = count_table(documents).values
    p, r, f = map(float, averages(counts.sum(axis=0))["weighted"])
    low, high = map(float, interval(averages(resampled_counts(counts, samples, seed))["weighted"][:, 2]))
    support = int(counts[..., 0].sum() + counts[..., 2].sum())
    return {"p": p, "r": r, "f": f, "ci_low": low, "ci_high": high, "support": support}


def token_labels(text: str, mentions: Collection[Mention]) -> Dict[int, str]:
    """The labels of the tokens inside mentions, by the index of the token among those that are not white space.

    A token belongs to a mention that holds any character of it; of several, to the longest one, then to the one that
    begins first.
    """
    tokens = [(start, end) for start, end in token_offsets(text) if not text[start:end].isspace()]
    starts, ends = [start for start, _ in tokens], [end for _, end in tokens]
    labels: Dict[int, str] = {}
    for mention in sorted(mentions, key=_rank, reverse=True):
        for start, end in mention.fragments:
            labels.update(dict.fromkeys(range(bisect_right(ends, start), bisect_left(starts, end)), mention.label))
    return labels


def _rank(mention: Mention) -> tuple:
    """Smallest for the mention that wins: labels are written in the opposite order, so that it is written last."""
    return (-sum(end - start for start, end in mention.fragments), mention.fragments, mention.label)


def _count(gold: Dict[int, str], predicted: Dict[int, str]) -> Dict[str, Counts]:
    hits: List[str] = [label for token, label in gold.items() if predicted.get(token) == label]
    tp, support, found = Counter(hits), Counter(gold.values()), Counter(predicted.values())
    return {label: Counts(tp[label], found[label] - tp[label], support[label] - tp[label]) for label in support | found}
