"""Scores of entities and relations together while training."""

from functools import partial
from typing import Any, Callable, Dict, FrozenSet, Iterable, List

from spacy.scorer import get_ner_prf
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.relations.relation_scorer import score_relations


@registry.scorers("spacy-clinical-ner.JointScorer.v1")
def make_joint_scorer(symmetric: List[str] = []) -> Callable[..., Dict[str, Any]]:  # noqa: B006 - see encoders.py
    """What EntityScorer.v1 gives for `doc.ents` (ents_p, ents_r, ents_f, ents_per_type) and RelationScorer.v1 for
    `doc._.relations` (rel_micro_f, ...).

    Relations are scored end to end where the component finds the entities itself, and between gold entities with
    `entities = "given"` and `gold_mentions` of the reader BratCorpus.v1. symmetric: as in RelationScorer.v1.
    """
    return partial(_score, fixed=frozenset(symmetric))


def _score(
    examples: Iterable[Example], fixed: FrozenSet[str], symmetric: Iterable[str] = (), **kwargs: Any
) -> Dict[str, Any]:
    examples = list(examples)
    return {**get_ner_prf(examples), **score_relations(examples, fixed.union(symmetric))}
