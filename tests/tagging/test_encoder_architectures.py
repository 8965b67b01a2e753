"""Encoders as a config names them."""

import pytest
import spacy
from spacy.util import load_model_from_config
from thinc.api import Config

from spacy_clinical_ner.layers.attention import MultiHeadAttention
from spacy_clinical_ner.layers.encoders import IDCNN, BiGRU
from tests.tagging.pipelines import BIGRU, STACK, crf_pipeline, ents, make_docs, make_examples, model_config, train

WRITTEN = """
[encoder]
@architectures = "spacy-clinical-ner.Stack.v1"

[encoder.*.first]
@architectures = "spacy-clinical-ner.IDCNN.v1"
filters = 24

[encoder.*.attention]
@architectures = "spacy-clinical-ner.MultiHeadAttention.v1"
heads = 5
residual = false

[encoder.*.last]
@architectures = "spacy-clinical-ner.BiGRU.v1"
hidden_width = 7
"""


def test_stack_in_the_order_of_the_config():
    build = spacy.registry.resolve(Config().from_str(WRITTEN))["encoder"]
    stack = build(12)
    assert [type(encoder) for encoder in stack.encoders] == [IDCNN, MultiHeadAttention, BiGRU]
    assert stack.encoders[0].project.in_features == 12
    assert stack.encoders[1].heads == 5 and not stack.encoders[1].residual
    assert stack.output_width == 14


@pytest.mark.parametrize("encoder", [STACK, BIGRU], ids=["Stack", "BiGRU"])
def test_survives_the_way_through_a_config_file(encoder, tmp_path):
    nlp = crf_pipeline(model=model_config(encoder))
    examples = make_examples(nlp, make_docs(nlp))
    train(nlp, examples, steps=120, learn_rate=0.01)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
    config = Config().from_str(nlp.config.to_str())
    other = load_model_from_config(config, auto_fill=False, validate=True).from_bytes(nlp.to_bytes())
    nlp.to_disk(tmp_path)
    for doc in make_docs(nlp, 5, seed=4):
        expected = ents(nlp(doc.text))
        assert ents(other(doc.text)) == expected
        assert ents(spacy.load(tmp_path)(doc.text)) == expected
