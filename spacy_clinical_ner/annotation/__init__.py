"""Notes in, mentions out."""

from spacy_clinical_ner.annotation.notes import AnnotationSummary, annotate_notes, plan_jobs
from spacy_clinical_ner.annotation.piping import given_mentions
from spacy_clinical_ner.annotation.spark import annotate_dataframe

__all__ = ["AnnotationSummary", "annotate_dataframe", "annotate_notes", "given_mentions", "plan_jobs"]
