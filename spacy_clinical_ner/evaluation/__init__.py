"""Scores over characters of the original notes, with confidence intervals; statistics and ceilings of corpora."""

from spacy_clinical_ner.evaluation.matching import Counts, Mention, relaxed_counts, strict_counts
from spacy_clinical_ner.evaluation.pairs import DocumentPair, pair_documents, pair_folders
from spacy_clinical_ner.evaluation.scoring import Tally, evaluate, evaluate_folders, metrics, tally

__all__ = [
    "Counts",
    "DocumentPair",
    "Mention",
    "Tally",
    "evaluate",
    "evaluate_folders",
    "metrics",
    "pair_documents",
    "pair_folders",
    "relaxed_counts",
    "strict_counts",
    "tally",
]
