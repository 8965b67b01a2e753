"""`crf_ner` as one component among others: listeners, freezing, selecting pipes, annotating components."""

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import EMBED, ents, make_docs, make_examples, model_config, train

LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
TOK2VEC = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": EMBED["embed"],
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 32,
        "depth": 1,
        "window_size": 1,
        "maxout_pieces": 2,
    },
}


def listening_pipeline() -> Language:
    spacy.util.fix_random_seed(0)
    nlp = blank_pipeline("es")
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    nlp.add_pipe("crf_ner", config={"model": model_config(tok2vec=LISTENER)})
    return nlp


def test_select_pipes_and_sourcing():
    nlp = listening_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=30)
    text = "paciente con carcinoma ductal y tos"
    expected = ents(nlp(text))
    assert expected
    with nlp.select_pipes(disable=["crf_ner"]):
        assert not nlp(text).ents
    assert ents(nlp(text)) == expected
    nlp.replace_listeners("tok2vec", "crf_ner", ["model.tok2vec"])
    other = blank_pipeline("es")
    other.add_pipe("crf_ner", source=nlp)
    assert ents(other(text)) == expected


def test_frozen_and_annotating():
    nlp = listening_pipeline()
    docs = make_docs(nlp)
    examples = make_examples(nlp, docs)
    train(nlp, examples, steps=80)
    seen = []

    @Language.component("remember_ents")
    def remember_ents(doc: Doc) -> Doc:
        seen.append(ents(doc))
        return doc

    nlp.add_pipe("remember_ents")
    optimizer = nlp.resume_training()
    frozen = nlp.get_pipe("crf_ner").to_bytes()
    # spaCy runs annotating components on the predicted Docs, frozen ones too; their weights must not move
    nlp.update(
        make_examples(nlp, docs), sgd=optimizer, exclude=["crf_ner"], annotates=["tok2vec", "crf_ner", "remember_ents"]
    )
    assert nlp.get_pipe("crf_ner").to_bytes() == frozen
    assert seen == [ents(doc) for doc in docs]
