"""The trainable components, each with what the contract needs to know of it: how one is made, and what it learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.joint import pipelines as joint
from tests.relations import pipelines as relations
from tests.tagging import pipelines as tagging
from tests.tagging.pipelines import train
from tests.tagging.test_listeners import LISTENER, TOK2VEC
from tests.transformers.encoders import make_encoder, tagging_pipeline

SPANS_KEY = "sc"


@dataclass(frozen=True)
class Case:
    """A component, and enough steps of training for ten documents by heart.

    model: makes its model's config, from a tok2vec and other settings. listeners: where the tok2vec stands in it, for
    components that can listen. listening_steps: of training behind a shared tok2vec; with as many as `steps`, they must
    be enough to learn by heart there, too. encoder: whether it reads from a transformer in front of it.
    """

    factory: str
    model: Callable[..., dict]
    settings: dict = field(default_factory=dict)
    spans_key: Optional[str] = None
    scores: tuple = ("ents_f",)
    listeners: tuple = ("model.tok2vec",)
    encoder: bool = False
    steps: int = 60
    listening_steps: int = 30
    learn_rate: float = 0.01

    @property
    def learns_relations(self) -> bool:
        return "rel_micro_f" in self.scores

    @property
    def finds_entities(self) -> bool:
        return self.factory != "relation_classifier"

    def pipeline(self, folder: Path, seed: int = 0, **model: Any) -> Language:
        """A blank pipeline with the component. folder: for the transformer's encoder, if it needs one."""
        if self.encoder:
            kept = folder / "encoder"
            nlp = tagging_pipeline(kept if kept.exists() else make_encoder("wordpiece", kept), model)
            fix_random_seed(seed)
            return nlp
        fix_random_seed(seed)
        nlp = blank_pipeline("es")
        nlp.add_pipe(self.factory, config={"model": self.model(**model), **self.settings})
        return nlp

    def listening_pipeline(self) -> Language:
        """The same behind a tok2vec that it listens to."""
        fix_random_seed(0)
        nlp = blank_pipeline("es")
        nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
        nlp.add_pipe(self.factory, config={"model": self.model(tok2vec=LISTENER), **self.settings})
        return nlp

    def docs(self, nlp: Language, count: int = 10, seed: int = 0) -> list[Doc]:
        """Gold documents."""
        room: Any = relations if self.learns_relations else tagging
        return room.make_docs(nlp, count, seed, self.spans_key)

    def blank(self, doc: Doc) -> Doc:
        """What the component gets of a gold document: its tokens, and its mentions if it needs them."""
        return self.examples([doc])[0].predicted

    def examples(self, docs: list[Doc]) -> list[Example]:
        return relations.make_examples(docs, mentions=not self.finds_entities)

    def train(self, nlp: Language, docs: list[Doc], steps: Optional[int] = None) -> dict[str, float]:
        return train(nlp, self.examples(docs), self.steps if steps is None else steps, self.learn_rate)


OVERLAPPING = {
    "spans_key": SPANS_KEY,
    "scorer": {"@scorers": "spacy-clinical-ner.EntityScorer.v1", "spans_key": SPANS_KEY},
}

CASES = {
    "crf_ner": Case("crf_ner", tagging.model_config, listening_steps=80),
    "crf_ner, spans_key": Case(
        "crf_ner",
        tagging.model_config,
        OVERLAPPING,
        SPANS_KEY,
        scores=(f"spans_{SPANS_KEY}_f",),
        listeners=(),
        steps=80,
    ),
    "crf_ner, softmax": Case("crf_ner", tagging.softmax_config),
    "crf_ner, pool": Case("crf_ner", tagging.pool_config, listeners=("model.*.one.tok2vec",)),
    "crf_ner over a transformer": Case("crf_ner", tagging.model_config, listeners=(), encoder=True, steps=80),
    "label_attention_ner": Case("label_attention_ner", tagging.label_attention_config),
    "label_attention_ner, CRF": Case("label_attention_ner", tagging.label_attention_crf_config),
    "relation_classifier": Case(
        "relation_classifier",
        relations.model_config,
        scores=("rel_micro_f", "rel_candidate_recall"),
        steps=50,
        listening_steps=50,
        learn_rate=0.02,
    ),
    "joint_extractor": Case(
        "joint_extractor",
        joint.model_config,
        scores=("ents_f", "rel_micro_f", "rel_candidate_recall"),
        listeners=(),
        steps=70,
        learn_rate=0.005,
    ),
}


def outcome(doc: Doc) -> tuple[list, list]:
    """Entities and relations with their probabilities."""
    found = [*doc.ents, *(span for group in doc.spans.values() for span in group)]
    return (
        [(*_place(span), span._.confidence) for span in found],
        [(each.label, _place(each.head), _place(each.tail), each.score) for each in doc._.relations],
    )


def places(doc: Doc) -> tuple[set, set]:
    """Entities and relations without their probabilities."""
    entities, found = outcome(doc)
    return {each[:-1] for each in entities}, {each[:-1] for each in found}


def _place(span: Any) -> tuple[int, int, str]:
    return span.start, span.end, span.label_
