"""Token-level scores while training: spaCy's own scorers, told where the mentions are."""

from typing import Any, Callable, Dict, Iterable, Optional

from spacy.scorer import Scorer, get_ner_prf
from spacy.training import Example
from spacy.util import registry


@registry.scorers("spacy-clinical-ner.EntityScorer.v1")
def make_entity_scorer(spans_key: Optional[str] = None) -> Callable[..., Dict[str, Any]]:
    """Score `doc.ents` (ents_p, ents_r, ents_f, ents_per_type) or, with a key, `doc.spans[key]` (spans_KEY_f, ...)."""

    def score(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        if spans_key is None:
            return get_ner_prf(examples, **kwargs)
        return Scorer.score_spans(
            examples,
            attr=f"spans_{spans_key}",
            getter=lambda doc, _: doc.spans.get(spans_key, []),
            has_annotation=lambda doc: spans_key in doc.spans,
            allow_overlap=True,
            labeled=True,
        )

    return score
