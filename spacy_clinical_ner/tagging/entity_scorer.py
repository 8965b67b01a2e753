"""Token-level scores while training: spaCy's own scorers, told where the mentions are."""

from functools import partial
from typing import Any, Callable, Dict, Iterable, Optional

from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry


@registry.scorers("spacy-clinical-ner.EntityScorer.v1")
def make_entity_scorer(spans_key: Optional[str] = None) -> Callable[..., Dict[str, Any]]:
    """Score `doc.ents` (ents_p, ents_r, ents_f, ents_per_type) or, with a key, `doc.spans[key]` (spans_KEY_f, ...)."""
    return get_ner_prf if spans_key is None else partial(score_spans, spans_key=spans_key)


def score_spans(examples: Iterable[Example], spans_key: str, **kwargs: Any) -> Dict[str, Any]:
    """Precision, recall and F of `doc.spans[spans_key]`, in which mentions may overlap."""

    def has_group(doc: Doc) -> bool:
        return spans_key in doc.spans

    return Scorer.score_spans(
        examples,
        attr=f"spans_{spans_key}",
        getter=lambda doc, _: doc.spans[spans_key] if has_group(doc) else [],
        has_annotation=has_group,
        allow_overlap=True,
        labeled=True,
    )
