"""`clinical-ner report`: what a system does, where it errs, and how it compares, on one page."""

from spacy_clinical_ner.evaluation.report.collect import Collected, collect
from spacy_clinical_ner.evaluation.report.pages import render

__all__ = ["Collected", "collect", "render"]
