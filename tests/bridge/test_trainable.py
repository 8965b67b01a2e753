"""What the skeleton of the trainable components promises, and the factories made of their constructors."""

import inspect

import numpy as np
import pytest
from spacy.language import Language
from spacy.training import Example

from spacy_clinical_ner.bridge.factories import constructor_settings
from spacy_clinical_ner.joint.joint_component import JointExtractor, make_joint_extractor
from spacy_clinical_ner.relations.pipe import RelationPipe
from spacy_clinical_ner.relations.relation_component import RelationClassifier, make_relation_classifier
from spacy_clinical_ner.tagging.label_attention import LabelAttentionRecognizer, make_label_attention_ner
from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer, make_crf_ner
from tests.tagging.pipelines import crf_pipeline, make_docs, make_examples

FACTORIES = {
    "crf_ner": (make_crf_ner, CrfEntityRecognizer),
    "label_attention_ner": (make_label_attention_ner, LabelAttentionRecognizer),
    "relation_classifier": (make_relation_classifier, RelationClassifier),
    "joint_extractor": (make_joint_extractor, JointExtractor),
}


def names(component: type) -> set:
    return {parameter.name for parameter in constructor_settings(component)}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_factory_takes_the_settings_of_its_constructor_with_their_defaults(name):
    factory, component = FACTORIES[name]
    settings = constructor_settings(component)
    assert list(inspect.signature(factory).parameters) == ["nlp", "name", "model", *(each.name for each in settings)]
    config = Language.get_factory_meta(name).default_config
    assert set(config) == {"model", *names(component)}
    for each in settings:
        if each.name not in ("candidates", "scorer"):
            assert config[each.name] == (list(each.default) if each.default == () else each.default)
    assert config["scorer"]["@scorers"].startswith("spacy-clinical-ner.")


def test_kinds_of_components_share_their_settings():
    assert names(LabelAttentionRecognizer) == names(CrfEntityRecognizer) | {"store_attention"}
    shared = names(RelationPipe)
    assert names(RelationClassifier) == shared | {"multi_label", "train_on"}
    of_entities = {"entities", "entity_threshold", "entity_weight", "relation_weight"}
    assert names(JointExtractor) == shared | of_entities
    assert Language.get_factory_meta("joint_extractor").default_config["max_batch_tokens"] == 5000


def test_what_is_not_annotated_changes_neither_loss_nor_gradient():
    nlp = crf_pipeline()
    examples = make_examples(nlp, make_docs(nlp, 3))
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("crf_ner")
    bare = Example(nlp.make_doc("sin fiebre"), nlp.make_doc("sin fiebre"))
    scores = pipe.model.predict([example.predicted for example in [*examples, bare]])
    loss, gradient = pipe.get_loss([*examples, bare], scores)
    expected, expected_gradient = pipe.get_loss(examples, scores[:3])
    assert loss == pytest.approx(expected) and loss > 0
    for one, other in zip(gradient, expected_gradient):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert not gradient[3].any() and gradient[3].shape == scores[3].shape
    assert pipe.update([bare]) == {"crf_ner": 0.0}
