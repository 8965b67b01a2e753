"""Small pipelines and corpora that the tests of relations share."""

from __future__ import annotations

import random
from typing import Any, Optional

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinical_ner.brat.reader import copy_mentions, same_tokens
from spacy_clinical_ner.extensions import Relation
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import EMBED, train

__all__ = ["EMBED", "train"]

BILSTM = {"@architectures": "spacy-clinical-ner.BiLSTM.v1", "hidden_width": 16, "depth": 1}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}


def model_config(tok2vec: dict = EMBED, encoder: Optional[dict] = BILSTM, **settings: Any) -> dict:
    """A small model without dropout, so that it can learn ten documents by heart."""
    config = {
        "@architectures": "spacy-clinical-ner.RelationClassifier.v1",
        "tok2vec": tok2vec,
        "hidden_width": 32,
        "type_width": 8,
        "feature_width": 4,
        "mention_width": 8,
        "window": 16,
        "context": 4,
        "dropout": 0.0,
        **settings,
    }
    if encoder is not None:
        config["encoder"] = encoder
    return config


def make_docs(nlp: Language, count: int = 10, seed: int = 0, spans_key: Optional[str] = None) -> list[Doc]:
    """Notes in which a grade and a site modify the tumour that stands in their clause, and tumours follow each other.

    With a key, a site within the words of a tumour is a mention of its own, nested and with the same start.
    """
    rng = random.Random(seed)
    docs = []
    for _ in range(count):
        words: list[str] = []
        mentions: list[tuple[int, int, str]] = []
        relations: list[tuple[int, int, str]] = []
        last = None
        for _ in range(rng.randint(3, 8)):
            around = []
            if rng.random() < 0.5:
                around.append(len(mentions))
                mentions.append((len(words), len(words) + 1, "GRADE"))
                words.append(rng.choice(["leve", "grave"]))
            tumour = len(mentions)
            start = len(words)
            words.append(rng.choice(["carcinoma", "tumor", "adenoma"]))
            if spans_key is not None and rng.random() < 0.5:
                words.append("renal")
                mentions.append((start, len(words), "TUMOUR"))
                around.append(len(mentions))
                mentions.append((start, len(words) - 1, "KIND"))
            else:
                mentions.append((start, len(words), "TUMOUR"))
            if rng.random() < 0.5:
                words.append("en")
                around.append(len(mentions))
                mentions.append((len(words), len(words) + 1, "SITE"))
                words.append(rng.choice(["pulmón", "hueso"]))
            relations += [(other, tumour, "MODIFY") for other in around]
            if last is not None and words[mentions[last][0]] == words[mentions[tumour][0]]:
                relations.append((tumour, last, "SAME"))
            last = tumour
            words += rng.choice([[","], ["."], ["y"], ["sin", "fiebre", "."]])
        doc = Doc(nlp.vocab, words=words)
        spans = [Span(doc, start, end, label=label) for start, end, label in mentions]
        if spans_key is None:
            doc.set_ents(spans)
        else:
            doc.spans[spans_key] = spans
        doc._.relations = [Relation(spans[head], spans[tail], label) for head, tail, label in relations]
        docs.append(doc)
    return docs


def make_examples(docs: list[Doc], mentions: bool = True) -> list[Example]:
    """Examples whose predicted Docs have the gold mentions, or nothing."""
    examples = []
    for doc in docs:
        predicted = same_tokens(doc)
        if mentions:
            copy_mentions(doc, predicted)
        examples.append(Example(predicted, doc))
    return examples


def relation_pipeline(seed: int = 0, **config: Any) -> Language:
    fix_random_seed(seed)
    nlp = blank_pipeline("es")
    config.setdefault("model", model_config())
    nlp.add_pipe("relation_classifier", config=config)
    return nlp


def given(doc: Doc) -> Doc:
    """A Doc with the tokens and mentions of another one and nothing else."""
    return make_examples([doc])[0].predicted


def triples(doc: Doc) -> set:
    return {(r.label, *((span.start, span.end, span.label_) for span in (r.head, r.tail))) for r in doc._.relations}
