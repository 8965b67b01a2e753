"""Small pipelines and corpora that the tests of the taggers share."""

from __future__ import annotations

import random
from typing import Any, Callable, Optional

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinical_ner.tokenization import blank_pipeline

EMBED = {
    "@architectures": "spacy-clinical-ner.DistinctWords.v1",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 32,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [500, 100, 200, 100],
        "include_static_vectors": False,
    },
}
BILSTM = {"@architectures": "spacy-clinical-ner.BiLSTM.v1", "hidden_width": 24, "depth": 1}
BIGRU = {"@architectures": "spacy-clinical-ner.BiGRU.v1", "hidden_width": 24, "depth": 2}
IDCNN = {"@architectures": "spacy-clinical-ner.IDCNN.v1", "filters": 32, "blocks": 2, "dropout": 0.1}
ATTENTION = {"@architectures": "spacy-clinical-ner.MultiHeadAttention.v1", "heads": 4, "dropout": 0.0}
STACK = {"@architectures": "spacy-clinical-ner.Stack.v1", "*": {"idcnn": IDCNN, "attention": ATTENTION}}

_SUBJECTS = ["carcinoma", "tumor", "adenoma", "metástasis", "linfoma"]
_SITES = ["ductal", "renal", "hepático", "pulmonar", "óseo"]
_FILLERS = ["paciente", "con", "dolor", "en", "control", "sin", "fiebre", "por", "tos", "leve", ".", "\n"]


def model_config(encoder: Optional[dict] = BILSTM, tok2vec: dict = EMBED, **settings: Any) -> dict:
    """A small CrfTagger config without dropout, so that it can learn ten documents by heart."""
    config = {
        "@architectures": "spacy-clinical-ner.CrfTagger.v1",
        "tok2vec": tok2vec,
        "window": 16,
        "context": 4,
        "dropout": 0.0,
        **settings,
    }
    if encoder is not None:
        config["encoder"] = encoder
    return config


def softmax_config(**settings: Any) -> dict:
    return model_config(decoder="softmax", **settings)


def label_attention_config(tok2vec: dict = EMBED, **settings: Any) -> dict:
    config = {"hidden_width": 20, "layers": 2, "heads": 5, "window": 16, "context": 4, "dropout": 0.0, **settings}
    return {"@architectures": "spacy-clinical-ner.LabelAttentionTagger.v1", "tok2vec": tok2vec, **config}


def label_attention_crf_config(**settings: Any) -> dict:
    return label_attention_config(decoder="crf", **settings)


def pool_config(weights: Optional[list] = None, tok2vec: dict = EMBED, **settings: Any) -> dict:
    members = {"one": model_config(tok2vec=tok2vec, **settings), "two": model_config(encoder=None, **settings)}
    return {"@architectures": "spacy-clinical-ner.CrfPool.v1", "*": members, "weights": weights}


# What `test_taggers.py` tries: the factory, and what makes its model's config.
TAGGERS: dict[str, tuple[str, Callable[..., dict]]] = {
    "softmax": ("crf_ner", softmax_config),
    "label attention": ("label_attention_ner", label_attention_config),
    "pool": ("crf_ner", pool_config),
    "label attention, CRF": ("label_attention_ner", label_attention_crf_config),
}


def make_docs(nlp: Language, count: int = 10, seed: int = 0, spans_key: Optional[str] = None) -> list[Doc]:
    """Notes of 20 to 60 words with one- and two-word mentions of two labels; overlapping ones if a key is given."""
    rng = random.Random(seed)
    docs = []
    for _ in range(count):
        words: list[str] = []
        mentions: list[tuple[int, int, str]] = []
        for _ in range(rng.randint(20, 60)):
            if rng.random() < 0.15:
                start = len(words)
                words.append(rng.choice(_SUBJECTS))
                if rng.random() < 0.5:
                    words.append(rng.choice(_SITES))
                    if spans_key is not None:
                        mentions.append((len(words) - 1, len(words), "SITE"))
                mentions.append((start, len(words), "TUMOUR"))
                words.append("y")
            elif rng.random() < 0.05:
                mentions.append((len(words), len(words) + 1, "SITE"))
                words.append(rng.choice(_SITES))
                words.append(",")
            else:
                words.append(rng.choice(_FILLERS))
        doc = Doc(nlp.vocab, words=words)
        spans = [Span(doc, start, end, label=label) for start, end, label in mentions]
        if spans_key is None:
            doc.set_ents(spans)
        else:
            doc.spans[spans_key] = spans
        docs.append(doc)
    return docs


def make_examples(nlp: Language, docs: list[Doc]) -> list[Example]:
    return [
        Example(Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc]), doc)
        for doc in docs
    ]


def crf_pipeline(seed: int = 0, factory: str = "crf_ner", **config: Any) -> Language:
    fix_random_seed(seed)
    nlp = blank_pipeline("es")
    config.setdefault("model", model_config())
    nlp.add_pipe(factory, config=config)
    return nlp


def train(nlp: Language, examples: list[Example], steps: int = 60, learn_rate: float = 0.01) -> dict[str, float]:
    """Train on all examples at once; returns the losses of the last step."""
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = learn_rate
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses, drop=0.0)
    return losses


def ents(doc: Doc) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label_) for span in doc.ents]


def spans(doc: Doc, key: str) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.label_) for span in doc.spans[key]}
