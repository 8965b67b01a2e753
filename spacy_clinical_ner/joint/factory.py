"""The factory of `joint_extractor` and its default config."""

from typing import Callable, List, Optional

from spacy.language import Language
from thinc.api import Config, Model

from spacy_clinical_ner.joint.joint_architectures import JointInput, JointOutput
from spacy_clinical_ner.joint.joint_component import JointExtractor
from spacy_clinical_ner.relations.candidates import CandidatePairs

DEFAULT_CONFIG = """
[candidates]
@misc = "spacy-clinical-ner.TypedPairsWithin.v1"
max_distance = 100

[model]
@architectures = "spacy-clinical-ner.JointExtractor.v1"
task_layers = 2
mask = "eq14"

[model.encoder]
@misc = "spacy-clinical-ner.TinyEncoder.v1"
"""


@Language.factory(
    "joint_extractor",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc._.relations"],
    default_config={
        **Config().from_str(DEFAULT_CONFIG),
        "entities": "predicted",
        "spans_key": None,
        "symmetric": [],
        "threshold": None,
        "entity_threshold": 0.0,
        "keep_negatives": 1.0,
        "entity_weight": 1.0,
        "relation_weight": 1.0,
        "seed": 0,
        "max_batch_tokens": 5000,
        "scorer": {"@scorers": "spacy-clinical-ner.JointScorer.v1"},
    },
    default_score_weights={
        "ents_f": 0.5,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
        "rel_micro_f": 0.5,
        "rel_micro_p": 0.0,
        "rel_micro_r": 0.0,
        "rel_candidate_recall": None,
        "rel_per_type": None,
        "rel_by_distance": None,
        "rel_by_sentence": None,
    },
)
def make_joint_extractor(
    nlp: Language,
    name: str,
    model: Model[JointInput, JointOutput],
    candidates: CandidatePairs,
    entities: str,
    spans_key: Optional[str],
    symmetric: List[str],
    threshold: Optional[float],
    entity_threshold: float,
    keep_negatives: float,
    entity_weight: float,
    relation_weight: float,
    seed: int,
    max_batch_tokens: int,
    scorer: Optional[Callable],
) -> JointExtractor:
    """Make a `joint_extractor` component.

    model: a `spacy-clinical-ner.JointExtractor.v1` model.
    candidates: which pairs are looked at, a `spacy-clinical-ner.CandidatePairs.v1` of filters; of these, those that fit
        into one window of the encoder.
    entities: "predicted" writes `doc.ents`, in place of what stood there, and relations between them. "given" leaves
        them as they are and finds relations between them.
    spans_key: the mentions whose relations are learned, and with "given" those that are looked at, are those of
        `doc.ents` or, with a key, of `doc.spans[spans_key]`, which may overlap. Entities are learned from `doc.ents`.
    symmetric: labels of relations without direction, learned and written with the earlier mention as head.
    threshold: relations that are less probable are not written (0 to 1). None: the threshold that was tuned (see
        `spacy-clinical-ner.TuneRelationThreshold.v1`), or 0.5.
    entity_threshold: the same for entities, by their posterior.
    keep_negatives: share of the pairs without a relation that a step of training looks at, drawn anew each time.
    entity_weight, relation_weight: of the two losses in their sum. With 0 a task is not trained at all, its output
        layer stays frozen as it was initialised, and its annotations are left alone: entities only, or relations only.
    seed: of the draw of negatives. max_batch_tokens: tokens of the notes that are held in memory at once.
    """
    return JointExtractor(
        nlp.vocab,
        model,
        name,
        candidates=candidates,
        entities=entities,
        spans_key=spans_key,
        symmetric=symmetric,
        threshold=threshold,
        entity_threshold=entity_threshold,
        keep_negatives=keep_negatives,
        entity_weight=entity_weight,
        relation_weight=relation_weight,
        seed=seed,
        max_batch_tokens=max_batch_tokens,
        scorer=scorer,
    )
