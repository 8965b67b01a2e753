"""Notes in, mentions out."""

from spacy_clinical_ner.annotation.notes import AnnotationSummary, annotate_notes, given_mentions, plan_jobs

__all__ = ["AnnotationSummary", "annotate_notes", "given_mentions", "plan_jobs"]
