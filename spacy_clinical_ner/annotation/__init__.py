"""Notes in, mentions out."""

from spacy_clinical_ner.annotation.notes import AnnotationSummary
from spacy_clinical_ner.annotation.piping import given_mentions
from spacy_clinical_ner.annotation.spark import annotate_dataframe
from spacy_clinical_ner.annotation.tasks import Task, annotate

__all__ = ["AnnotationSummary", "Task", "annotate", "annotate_dataframe", "given_mentions"]
