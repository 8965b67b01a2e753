"""Tokens of which nothing is known are not taught as O, and blocked ones stay without entity."""

from __future__ import annotations

import numpy as np
import pytest
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_clinical_ner.layers.crf.tag_scheme import UNKNOWN
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import TAGGERS, crf_pipeline, ents, label_attention_crf_config, make_docs, train

U = UNKNOWN
DECODERS = {
    "crf": ("crf_ner", {}),
    "softmax": TAGGERS["softmax"],
    "label attention": TAGGERS["label attention"],
    "label attention, CRF": ("label_attention_ner", label_attention_crf_config),
}


def tagger(nlp: Language, *labels: str, view: bool = False, spans_key: str | None = None):
    settings: dict = {"spans_key": spans_key}
    if view:
        step = {"@misc": "spacy-clinical-ner.WithoutPunctuation.v1"}
        settings["view"] = {"@misc": "spacy-clinical-ner.View.v1", "*": {"punctuation": step}}
    pipe = nlp.add_pipe("crf_ner", config=settings)
    for label in labels:
        pipe.add_label(label)  # type: ignore[attr-defined]
    pipe.model.attrs["chains"] = 1 if spans_key is None else len(labels)  # type: ignore[attr-defined]
    return pipe


def tags_of(pipe, words: list[str], reference: Doc) -> list:
    predicted = Doc(reference.vocab, words=words)
    return pipe._gold_tags(Example(predicted, reference)).tolist()


def test_missing_tokens_and_dashes_are_unknown() -> None:
    nlp = blank_pipeline("es")
    pipe = tagger(nlp, "X")
    doc = Doc(nlp.vocab, words=["a", "b", "c", "d", "e"])
    doc.set_ents([Span(doc, 1, 3, label="X")], missing=[doc[3:4]], default="outside")
    assert tags_of(pipe, ["a", "b", "c", "d", "e"], doc) == [[0, 1, 3, U, 0]]
    example = Example.from_dict(Doc(nlp.vocab, words=["a", "b", "c"]), {"entities": ["O", "-", "U-X"]})
    assert pipe._gold_tags(example).tolist() == [[0, U, 4]]
    doc.set_ents([], blocked=[doc[0:1]], missing=[doc[1:2]], default="outside")
    assert tags_of(pipe, ["a", "b", "c", "d", "e"], doc) == [[0, U, 0, 0, 0]]  # blocked is known: no entity
    doc.set_ents([Span(doc, 0, 1, label="X")], default="missing")
    assert tags_of(pipe, ["a", "b", "c", "d", "e"], doc) == [[4, U, U, U, U]]


def test_other_tokens_share_what_is_unknown() -> None:
    nlp = blank_pipeline("es")
    pipe = tagger(nlp, "X")
    doc = Doc(nlp.vocab, words=["ab", "c", "d"], spaces=[False, False, False])
    doc.set_ents([], missing=[doc[0:1]], default="outside")
    assert Doc(nlp.vocab, words=["a", "bc", "d"], spaces=[False] * 3).text == doc.text
    predicted = Doc(nlp.vocab, words=["a", "bc", "d"], spaces=[False] * 3)
    assert pipe._gold_tags(Example(predicted, doc)).tolist() == [[U, U, 0]]


def test_mentions_that_fit_no_tokens_are_unknown() -> None:
    nlp = blank_pipeline("es")
    reference = Doc(nlp.vocab, words=["no", "tumor", "es", "."], spaces=[True, False, True, False])
    predicted = Doc(nlp.vocab, words=["no", "tumores", "."], spaces=[True, True, False])
    reference.set_ents([Span(reference, 1, 2, label="X")])
    assert tagger(nlp, "X")._gold_tags(Example(predicted, reference)).tolist() == [[0, U, 0]]
    # With a chain for each label the other chains know what they knew.
    reference.spans["sc"] = [Span(reference, 1, 2, label="X"), Span(reference, 0, 1, label="Y")]
    pipe = tagger(blank_pipeline("es"), "X", "Y", spans_key="sc")
    assert pipe._gold_tags(Example(predicted, reference)).tolist() == [[0, U, 0], [4, 0, 0]]


def test_view_keeps_what_is_unknown_of_its_words() -> None:
    nlp = blank_pipeline("es")
    pipe = tagger(nlp, "X", view=True)
    doc = Doc(nlp.vocab, words=["a", ",", "b", ".", "c"])
    doc.set_ents([Span(doc, 0, 1, label="X")], missing=[doc[1:3]], default="outside")
    assert tags_of(pipe, [token.text for token in doc], doc) == [[4, U, 0]]


@pytest.mark.parametrize("name", DECODERS)
def test_half_annotated_notes_teach_both_drugs(name: str) -> None:
    factory, make = DECODERS[name]
    nlp = crf_pipeline(factory=factory, **({"model": make()} if make else {}))
    examples = []
    for number in range(12):
        words = ["Aspirin", "was", "given", ".", "Ibuprofen", "was", "stopped", "."]
        known, unknown = (0, 4) if number >= 3 else (4, 0)  # in three notes of four the second is not known
        doc = Doc(nlp.vocab, words=words)
        doc.set_ents([Span(doc, known, known + 1, label="DRUG")], missing=[doc[unknown : unknown + 1]])
        examples.append(Example(Doc(nlp.vocab, words=words), doc))
    train(nlp, examples, steps=40)
    found = nlp(Doc(nlp.vocab, words=examples[0].predicted.text.split()))
    assert ents(found) == [(0, 1, "DRUG"), (4, 5, "DRUG")]


def test_a_note_of_which_nothing_is_known_teaches_nothing() -> None:
    nlp = crf_pipeline()
    doc = make_docs(nlp, 1)[0]
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])
    pipe = nlp.get_pipe("crf_ner")
    unknown = Doc(nlp.vocab, words=["a", "b"])
    unknown.set_ents([], missing=[unknown[0:2]])
    output = [np.random.default_rng(0).normal(size=(2, 9)).astype("float32")]
    loss, gradient = pipe.loss(output, [np.full((1, 2), U)])  # type: ignore[attr-defined]
    assert loss == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(gradient[0], 0.0, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_blocked_tokens_stay_without_entity(name: str) -> None:
    factory, make = DECODERS[name]
    nlp = crf_pipeline(factory=factory, **({"model": make()} if make else {}))
    words = ["tumor", "renal", "y", "tumor", "renal"]
    doc = Doc(nlp.vocab, words=words)
    doc.set_ents([Span(doc, 0, 2, label="TUMOUR"), Span(doc, 3, 5, label="TUMOUR")])
    train(nlp, [Example(Doc(nlp.vocab, words=words), doc)] * 4, steps=40)
    free, blocked = Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words)
    blocked.set_ents([], blocked=[blocked[1:2]], default="missing")
    free, blocked = nlp.pipe([free, blocked])
    assert ents(free) == [(0, 2, "TUMOUR"), (3, 5, "TUMOUR")]
    assert (3, 5, "TUMOUR") in ents(blocked)
    assert all(not span.start <= 1 < span.end for span in blocked.ents)
    assert (blocked[1].ent_iob, blocked[1].ent_type) == (3, 0)  # still blocked
    assert all(0 <= span._.confidence <= 1 for span in blocked.ents)
    for overwrite in (True, False):
        nlp.get_pipe(factory).overwrite = overwrite  # type: ignore[attr-defined]
        everything = Doc(nlp.vocab, words=words)
        everything.set_ents([], blocked=[everything[0:5]])
        assert not nlp(everything).ents


def test_confidence_is_that_of_the_posterior_without_the_blocked_tokens() -> None:
    """P(span | token 0 is O), by Bayes from the posterior of the free lattice."""
    nlp = crf_pipeline()
    docs = make_docs(nlp, 4)
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in docs])
    pipe = nlp.get_pipe("crf_ner")
    rng = np.random.default_rng(3)
    emissions = (rng.normal(size=(4, 9)) * 2).astype("float32")
    emissions[2, 4] += 6  # S of the first label
    (found,) = pipe.decode([emissions], [np.array([0])])  # type: ignore[attr-defined]
    (mention,) = [each for each in found if each.start == 2]
    forced = emissions.copy()
    forced[0, 1:] = -80.0
    (expected,) = pipe.decode([forced])  # type: ignore[attr-defined]
    assert mention.confidence == pytest.approx(next(e.confidence for e in expected if e.start == 2), rel=1e-5)


def test_view_that_leaves_a_blocked_token_out_makes_no_mention_over_it() -> None:
    nlp = blank_pipeline("es")
    pipe = tagger(nlp, "X", view=True)
    doc = Doc(nlp.vocab, words=["a", ",", "b"])
    doc.set_ents([], blocked=[doc[1:2]])
    from spacy_clinical_ner.tagging.decoding import TokenMention

    pipe.set_annotations([doc], [[TokenMention(0, 3, 0, 0.9)]])
    assert not doc.ents
