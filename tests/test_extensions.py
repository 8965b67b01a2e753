"""Relations and confidence follow the text wherever a Doc goes; what lies outside a part is gone from it."""

import json
import pickle
import warnings

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

from spacy_clinical_ner.extensions import LabelAttention, Relation, has_relations, set_confidence, set_relations

NLP = spacy.blank("en")
PLACES = ((1, 2, "Sign"), (4, 5, "Sign"), (6, 8, "Drug"), (12, 13, "Sign"), (14, 15, "Drug"))
FIRST, SECOND = ("Rash", "caused_by", "oral penicillin", 0.9), ("cough", "caused_by", "statin", 0.8)
CONFIDENCE = [("fever", 0.5), ("Rash", 0.6), ("oral penicillin", 0.7), ("cough", 0.8), ("statin", 0.9)]


@pytest.fixture
def doc():
    doc = NLP("No fever today . Rash after oral penicillin on Monday . Then cough after statin .")
    doc.ents = [Span(doc, start, end, label=label) for start, end, label in PLACES]
    for number, entity in enumerate(doc.ents):
        set_confidence(entity, 0.5 + number / 10)
    _, rash, drug, cough, statin = doc.ents
    set_relations(doc, [Relation(cough, statin, "caused_by", 0.8), Relation(rash, drug, "caused_by", 0.9)])
    return doc


def relations(doc):
    return [(r.head.text, r.label, r.tail.text, r.score) for r in doc._.relations]


def confidences(doc):
    return [(entity.text, entity._.confidence) for entity in doc.ents]


TRAVELS = {
    "copy": lambda doc: doc.copy(),
    "bytes": lambda doc: Doc(NLP.vocab).from_bytes(doc.to_bytes()),
    "pickle": lambda doc: pickle.loads(pickle.dumps(doc)),
    "docbin": lambda doc: next(DocBin(docs=[doc], store_user_data=True).get_docs(spacy.blank("en").vocab)),
    "as_doc": lambda doc: doc[:].as_doc(copy_user_data=True),
    "json": lambda doc: Doc(NLP.vocab).from_json(
        json.loads(json.dumps(doc.to_json(underscore=["relations", "confidence"])))
    ),
}


@pytest.mark.parametrize("travel", TRAVELS)
def test_every_way_of_travelling(doc, travel):
    arrived = TRAVELS[travel](doc)
    assert relations(arrived) == [SECOND, FIRST], "in the order in which they were set"
    assert confidences(arrived) == CONFIDENCE


def test_merging_and_splitting_tokens(doc):
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[6:8])
        retokenizer.merge(doc[0:2])
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[3], ["Ra", "sh"], heads=[doc[3], doc[3]])
    assert relations(doc) == [SECOND, FIRST]
    assert [pair for pair in confidences(doc) if pair[1] is not None] == CONFIDENCE[1:]
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[3:6])
    assert relations(doc)[1][0] == "Rash after", "a mention inside a merged token is that token"


def test_parts(doc):
    second, third = doc[4:11].as_doc(copy_user_data=True), doc[11:16].as_doc(copy_user_data=True)
    assert (relations(second), confidences(second)) == ([FIRST], CONFIDENCE[1:3])
    assert (relations(third), confidences(third)) == ([SECOND], CONFIDENCE[3:])
    cut = doc[5:11].as_doc(copy_user_data=True)
    assert relations(cut) == [] and [row["label"] for row in cut._.confidence] == ["Drug"]
    assert has_relations(cut) and not has_relations(NLP("none"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        turned = Doc.from_docs([third, second])
    assert relations(turned) == [SECOND, FIRST]
    assert confidences(turned) == CONFIDENCE[3:] + CONFIDENCE[1:3]


def test_whole_docs_together(doc):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = Doc.from_docs([doc, doc])
    assert relations(both) == [SECOND, FIRST] * 2 and confidences(both) == CONFIDENCE * 2
    assert [r.head.start for r in both._.relations] == [12, 4, 28, 20]


def test_json_form(doc):
    form = doc.to_json(underscore=["relations", "confidence"])["_"]
    assert form["relations"][1] == {
        "head": {"start": 17, "end": 21, "label": "Sign", "id": ""},
        "tail": {"start": 28, "end": 43, "label": "Drug", "id": ""},
        "label": "caused_by",
        "score": 0.9,
    }
    assert form["confidence"][0] == {"start": 3, "end": 8, "label": "Sign", "value": 0.5}
    assert "Rash" not in json.dumps(form)


def test_setting_again_replaces(doc):
    first = doc._.relations[0]
    doc._.relations = [first, first, first._replace(label="other")]
    assert [r.label for r in doc._.relations] == ["caused_by", "caused_by", "other"]
    assert first == doc._.relations[1] and len({*doc._.relations}) == 2
    doc._.relations = []
    assert doc._.relations == [] and has_relations(doc)
    other = NLP("Rash after statin")
    with pytest.raises(ValueError, match="spans of the Doc that holds it"):
        other._.relations = [first]


def test_label_attention_follows_its_tokens(doc):
    import numpy as np

    weights = np.random.default_rng(0).random((2, 3, len(doc), 2), dtype="float32")
    doc._.label_attention = LabelAttention(weights, ["O", "B-X"])
    part = doc[4:11].as_doc(copy_user_data=True)
    assert np.array_equal(part._.label_attention.weights, weights[:, :, 4:11])
    both = Doc.from_docs([part, doc])
    assert np.array_equal(both._.label_attention.weights[:, :, :7], weights[:, :, 4:11])
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[6:8])
    assert doc._.label_attention is None


def test_label_attention_in_json(doc):
    import numpy as np

    weights = np.random.default_rng(0).random((2, 3, len(doc), 2), dtype="float32")
    doc._.label_attention = LabelAttention(weights, ["O", "B-X"])
    form = json.loads(json.dumps(doc.to_json(underscore=["label_attention"])))
    assert form["_"]["label_attention"]["tags"] == ["O", "B-X"]
    again = Doc(doc.vocab).from_json(form)
    assert np.array_equal(again._.label_attention.weights, weights) and again._.label_attention.tags == ["O", "B-X"]
