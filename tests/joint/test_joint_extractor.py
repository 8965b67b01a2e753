import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import registry

from spacy_clinical_ner.annotation import given_mentions
from spacy_clinical_ner.extensions import has_relations
from spacy_clinical_ner.joint.joint_architectures import network
from spacy_clinical_ner.layers.crf.tag_scheme import UNKNOWN
from spacy_clinical_ner.layers.focused_attention import MASKS
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.threshold import best_threshold
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.joint.pipelines import TINY, joint_pipeline, model_config
from tests.relations.pipelines import given, make_docs, make_examples, train, triples
from tests.tagging.pipelines import ents


@pytest.fixture(scope="module")
def trained() -> Language:
    nlp = joint_pipeline()
    train(nlp, make_examples(make_docs(nlp), mentions=False), steps=70, learn_rate=0.005)
    return nlp


@pytest.fixture()
def pipe(trained):
    return trained.get_pipe("joint_extractor")


def blank_copy(doc: Doc) -> Doc:
    return make_examples([doc], mentions=False)[0].predicted


def check_learned(nlp: Language, docs: list, entities: float = 1.0) -> None:
    scores = nlp.evaluate(make_examples(docs, mentions=False))
    assert (scores["ents_f"], scores["rel_micro_f"], scores["rel_candidate_recall"]) == (entities, 1.0, 1.0)
    for doc in docs:
        found = nlp(blank_copy(doc))
        assert ents(found) == ents(doc) and triples(found) == triples(doc)


def test_learns_them_under_the_other_mask_and_over_windows():
    """Eq. 13, and windows much shorter than the notes."""
    nlp = joint_pipeline(model=model_config(mask="eq13", window=24, overlap=5))
    docs = make_docs(nlp)
    train(nlp, make_examples(docs, mentions=False), steps=100, learn_rate=0.005)
    assert sum(len(doc) > 22 for doc in docs) > 3
    check_learned(nlp, docs)


def test_relations_between_mentions_that_overlap():
    nlp = joint_pipeline(entities="given", spans_key="sc", entity_weight=0.0)
    docs = make_docs(nlp, spans_key="sc")
    train(nlp, make_examples(docs), steps=100, learn_rate=0.005)
    assert nlp.evaluate(make_examples(docs))["rel_micro_f"] == 1.0
    assert any(r.head.start == r.tail.start for doc in docs for r in doc._.relations)
    assert all(triples(nlp(given(doc))) == triples(doc) for doc in docs)


@pytest.mark.parametrize("task", ["entities", "relations"])
def test_one_task_alone_leaves_the_other_frozen(task):
    weights = {"entity_weight": float(task == "entities"), "relation_weight": float(task == "relations")}
    nlp = joint_pipeline(**weights)
    docs = make_docs(nlp)
    optimizer = nlp.initialize(lambda: make_examples(docs, mentions=False))
    module = network(nlp.get_pipe("joint_extractor").model)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for _ in range(3):
        assert nlp.update(make_examples(docs, mentions=False), sgd=optimizer)["joint_extractor"] > 0
    moved = {name.split(".")[0] for name, value in module.state_dict().items() if not value.equal(before[name])}
    heads = {"entities": {"emission", "crf"}, "relations": {"hidden", "output", "pair_types"}}
    assert moved == {"encoder", *heads[task]}
    doc = nlp(given(docs[0]))
    if task == "entities":
        assert not has_relations(doc)
    else:
        assert ents(doc) == ents(docs[0])


def test_gradients_of_both_losses_reach_the_shared_encoder():
    nlp = joint_pipeline()
    docs = make_docs(nlp)
    nlp.initialize(lambda: make_examples(docs, mentions=False))
    pipe = nlp.get_pipe("joint_extractor")
    module = network(pipe.model)
    shared = module.encoder.layers[0].attention.self.query.weight
    gradients = []
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        pipe.entity_weight, pipe.relation_weight = weights
        module.zero_grad()
        pipe.update(make_examples(docs, mentions=False))
        gradients.append(shared.grad.clone())
        assert gradients[-1].abs().sum() > 0
    # The loss is the sum, and so is its gradient.
    np.testing.assert_allclose(gradients[2], gradients[0] + gradients[1], atol=1e-6)


def test_entity_threshold(trained, pipe):
    doc = make_docs(trained, seed=9)[0]
    confidence = sorted(span._.confidence for span in trained(blank_copy(doc)).ents)
    pipe.entity_threshold = (confidence[0] + confidence[1]) / 2
    kept = trained(blank_copy(doc)).ents
    pipe.entity_threshold = 0.0
    assert sorted(span._.confidence for span in kept) == confidence[1:]


def test_blocked_tokens_stay_without_entity_and_unknown_ones_are_not_taught(trained, pipe):
    gold = make_docs(trained)[0]
    (start, end, _), *others = ents(gold)
    doc = blank_copy(gold)
    doc.set_ents([], blocked=[doc[start:end]], default="missing")
    found = trained(doc)
    assert set(others) <= set(ents(found))
    assert all(entity.end <= start or entity.start >= end for entity in found.ents)
    assert all((token.ent_iob, token.ent_type) == (3, 0) for token in found[start:end])

    gold.set_ents(gold.ents[1:], missing=[gold[start:end]])
    (example,) = make_examples([gold], mentions=False)
    tags = pipe.lesson([example]).targets.tags[0]
    assert np.flatnonzero(tags[0] == UNKNOWN).tolist() == list(range(start, end))
    assert 0 <= pipe.update([example])["joint_extractor"] < np.inf


def test_default_config_is_complete():
    nlp = blank_pipeline("en")
    nlp.add_pipe("joint_extractor")
    again = spacy.util.load_model_from_config(nlp.config.from_str(nlp.config.to_str()), auto_fill=False)
    pipe = again.get_pipe("joint_extractor")
    assert (pipe.entities, pipe.threshold) == ("predicted", 0.5)
    with pytest.raises(ValueError, match="call initialize"):
        again("fever")


def test_white_space_and_long_words_have_tokens_of_their_own_in_every_window(trained, pipe):
    """Long runs of white space are where encoders lose word pieces; each token has its emissions all the same."""
    words = [*["\n", " "] * 150, "tumor", "en", "pulmón", *["\t"] * 150, "y" * 4000, "carcinoma"]
    doc = Doc(trained.vocab, words=words)
    seen = []

    def choose(emissions):
        seen.extend(emissions)
        return []

    pipe.model.predict(type("X", (), {"docs": [doc], "choose": staticmethod(choose)}))
    assert seen[0].shape == (len(words), 4 * 3 + 1) and np.isfinite(seen[0]).all()
    assert len({row.tobytes() for row in seen[0][300:303]}) == 3


def test_a_reference_that_says_nothing_teaches_nothing(trained, pipe):
    silent, only_entities = make_docs(trained, 2)
    bare = blank_copy(silent)
    assert pipe.update(make_examples([bare]))["joint_extractor"] == 0
    only_entities.user_data.clear()
    groups, gold = pipe.kept_pairs(make_examples([only_entities]))
    assert (groups, len(gold)) == ([], 0)
    assert pipe.update(make_examples([only_entities]))["joint_extractor"] > 0


def test_given_entities(trained, pipe):
    doc = given(make_docs(trained)[0])
    doc.set_ents(doc.ents[:-1])
    kept = ents(doc)
    with given_mentions(trained):
        assert pipe.entities == "given"
        found = trained(doc)
    assert pipe.entities == "predicted"
    assert ents(found) == kept
    assert {span for r in triples(found) for span in r[1:]} <= set(kept)
    doc.set_ents([Span(doc, span.start, span.end, label="NEW") for span in doc.ents])
    with given_mentions(trained):
        assert trained(doc)._.relations == []
    assert ents(trained(doc)) == ents(trained(given(make_docs(trained)[0])))


def test_batches_and_budgets_change_nothing(trained, pipe):
    docs = make_docs(trained, 12, seed=7)
    alone = [pipe.score_pairs([given(doc)])[0].probabilities for doc in docs]
    budget = pipe.model.attrs["max_batch_pieces"]
    for pieces in (budget, 30):
        pipe.model.attrs["max_batch_pieces"] = pieces
        together = [scored.probabilities for scored in pipe.score_pairs([given(doc) for doc in docs])]
        for one, other in zip(alone, together):
            np.testing.assert_allclose(one, other, atol=1e-5)
    pipe.model.attrs["max_batch_pieces"] = budget
    assert sum(map(len, alone)) > 100


def test_pairs_are_scored_as_in_a_window_of_their_own(trained, pipe):
    """A pair across the cores of two windows is found as well as one within."""
    doc = make_docs(trained)[0]
    filler = ["y"] * 200
    words = [token.text for token in doc]
    long = Doc(trained.vocab, words=[*filler, *words, *filler])
    shift = len(filler)
    long.set_ents([Span(long, span.start + shift, span.end + shift, label=span.label_) for span in doc.ents])
    (scored,) = pipe.score_pairs([long])
    (alone,) = pipe.score_pairs([given(doc)])
    assert len(scored.pairs.head) == len(alone.pairs.head)
    assert np.isfinite(scored.probabilities).all()


def test_given_entities_in_other_processes(trained):
    docs = make_docs(trained, 6, seed=4)
    with given_mentions(trained):
        together = list(trained.pipe([given(doc) for doc in docs], n_process=2))
        assert [ents(doc) for doc in together] == [ents(doc) for doc in docs]
        assert [triples(doc) for doc in together] == [triples(trained(given(doc))) for doc in docs]


def test_labels_of_relations_that_it_was_not_built_for(trained, pipe):
    assert pipe.labels == ("GRADE", "SITE", "TUMOUR") and pipe.relation_labels == ("MODIFY", "SAME")
    (doc,) = make_docs(blank_pipeline("es"), 1)
    doc._.relations = [doc._.relations[0]._replace(label="NEW")]
    with pytest.raises(ValueError, match="relation label"):
        pipe.update(make_examples([doc]))


def test_no_relation_at_all():
    nlp = joint_pipeline()
    docs = make_docs(nlp, 2)
    for doc in docs:
        doc._.relations = []
    with pytest.raises(ValueError, match="no relation labels"):
        nlp.initialize(lambda: make_examples(docs))
    only = joint_pipeline(relation_weight=0.0)
    assert train(only, make_examples(docs, mentions=False), steps=1)["joint_extractor"] > 0


@pytest.mark.parametrize(
    "setting",
    [
        {"threshold": 1.5},
        {"entity_threshold": -0.1},
        {"keep_negatives": 0.0},
        {"entities": "gold"},
        {"entity_weight": -1.0},
        {"entity_weight": 0.0, "relation_weight": 0.0},
    ],
    ids=lambda s: next(iter(s)),
)
def test_bad_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        joint_pipeline(**setting)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task_layers": 4}, "from 1 to the encoder's 3 layers"),
        ({"mask": "eq15"}, "unknown mask"),
        ({"window": 12}, "no room for an overlap"),
        ({"encoder": {**TINY, "heads": 5}}, "must divide its width"),
    ],
)
def test_bad_models(settings, message):
    with pytest.raises(ValueError, match=message):
        nlp = joint_pipeline(model=model_config(**settings))
        nlp.initialize(lambda: make_examples(make_docs(nlp)))


def test_negatives_are_drawn_and_positives_kept():
    nlp = joint_pipeline(keep_negatives=0.2)
    docs = make_docs(nlp)
    nlp.initialize(lambda: make_examples(docs))
    pipe = nlp.get_pipe("joint_extractor")
    pipe.keep_negatives = 1.0
    total = len(pipe.kept_pairs(make_examples(docs))[1])
    pipe.keep_negatives = 0.2
    positive = sum(len(doc._.relations) for doc in docs)
    draws = []
    for _ in range(2):
        groups, gold = pipe.kept_pairs(make_examples(docs))
        assert len(gold) == sum(len(group.pairs.head) for group in groups)
        assert gold.sum() == positive
        assert 0.1 < (len(gold) - positive) / (total - positive) < 0.3
        draws.append([group.pairs.head.tolist() for group in groups])
    assert draws[0] != draws[1]


def test_threshold_is_tuned_end_to_end_or_between_given_entities(trained, pipe):
    docs = make_docs(trained, 6, seed=11)
    tune = registry.callbacks.get("spacy-clinical-ner.TuneRelationThreshold.v1")(
        lambda nlp: make_examples(docs, mentions=False), component="joint_extractor"
    )
    tune(trained)
    found = [trained(blank_copy(doc)) for doc in docs]
    examples = make_examples(docs, mentions=False)
    for example, doc in zip(examples, found):
        example.predicted = doc
    assert pipe.threshold == best_threshold(pipe, examples).threshold
    tuned = trained.evaluate(make_examples(docs, mentions=False))["rel_micro_f"]
    pipe.cfg["threshold"] = None
    assert tuned >= trained.evaluate(make_examples(docs, mentions=False))["rel_micro_f"] > 0


@pytest.mark.parametrize("form", MASKS)
def test_types_and_order_tell_pairs_apart(form):
    """Without them both orders of a pair look the same to [CLS]."""
    for pair_types in (True, False):
        nlp = joint_pipeline(model=model_config(pair_types=pair_types, mask=form))
        nlp.get_pipe("joint_extractor").candidates = CandidatePairs()
        docs = make_docs(nlp)
        nlp.initialize(lambda docs=docs: make_examples(docs))
        pipe = nlp.get_pipe("joint_extractor")
        module = network(pipe.model)
        if pair_types:
            module.pair_types.weight.data.normal_()
        (scored,) = pipe.score_pairs([given(docs[0])])
        rows = {pair: row for pair, row in zip(zip(*(each.tolist() for each in scored.pairs)), scored.probabilities)}
        both = [(rows[pair], rows[pair[::-1]]) for pair in rows if pair[::-1] in rows]
        assert both
        assert all(np.allclose(one, other, atol=1e-6) != pair_types for one, other in both)
