"""The probability from which on a relation is worth writing: tuned for F on documents that were not trained on."""

from typing import Callable, Iterable, List, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.relations.gold import gold_on_predicted, targets
from spacy_clinical_ner.relations.pipe import RelationPipe


class TunedThreshold(NamedTuple):
    """A threshold and the micro F it reaches on the documents it was tuned on, which flatters it a little."""

    threshold: float
    f: float


def best_threshold(component: RelationPipe, examples: Iterable[Example]) -> TunedThreshold:
    """The threshold of the highest micro F, over all thresholds that make a difference.

    Relations are looked for between the mentions of the predicted Docs. Halfway between the probabilities around the
    best cut; 0.5 if there is nothing to find. The component is not changed.
    """
    examples = list(examples)
    scores: List[np.ndarray] = [np.zeros(0)]
    right: List[np.ndarray] = [np.zeros(0, dtype=bool)]
    gold_total = 0
    for example, scored in zip(examples, component.score_pairs([example.predicted for example in examples])):
        gold = gold_on_predicted(example, component.spans_key, component.symmetric)
        gold_total += len(gold.relations) + gold.lost
        hits, _ = targets(scored.mentions, scored.pairs, gold.relations, component.relation_labels)
        probabilities = scored.probabilities
        if not component.multi_label and len(probabilities):
            best = probabilities.argmax(axis=1)[:, None]
            probabilities = np.take_along_axis(probabilities, best, axis=1)
            hits = np.take_along_axis(hits, best, axis=1)
        scores.append(probabilities.ravel())
        right.append(hits.ravel())
    all_scores, all_right = np.concatenate(scores), np.concatenate(right)
    order = np.argsort(-all_scores, kind="stable")
    all_scores, all_right = all_scores[order], all_right[order]
    if not gold_total or not all_right.any():
        return TunedThreshold(0.5, 0.0)
    written = np.arange(1, len(all_scores) + 1)
    f = 2 * np.cumsum(all_right) / (written + gold_total)
    f[:-1][all_scores[:-1] == all_scores[1:]] = 0.0  # no threshold falls between equal probabilities
    best = int(f.argmax())
    following = all_scores[best + 1] if best + 1 < len(all_scores) else 0.0
    return TunedThreshold(round(float((all_scores[best] + following) / 2), 6), float(f[best]))


@registry.callbacks("spacy-clinical-ner.TuneRelationThreshold.v1")
def make_threshold_tuner(
    corpus: Callable[[Language], Iterable[Example]], component: str = "relation_classifier"
) -> Callable[[Language], Language]:
    """A callback for `[training] before_to_disk`: each pipeline that is saved gets the threshold of its best F.

    corpus: a reader, most often `${corpora.dev}`; with gold mentions on the predicted Docs unless components before
        this one find them.
    component: name of the relation classifier or joint extractor. A `threshold` that is set in its config goes before
        the tuned one. A joint extractor that predicts entities is tuned on those.
    """

    def tune(nlp: Language) -> Language:
        pipe = nlp.get_pipe(component)
        if not isinstance(pipe, RelationPipe):
            raise ValueError(f"TuneRelationThreshold: '{component}' is no relation_classifier and no joint_extractor")
        examples = list(corpus(nlp))
        docs = [example.predicted for example in examples]
        for name, earlier in nlp.pipeline:
            if name == component:
                break
            docs = [earlier(doc) for doc in docs]
        if getattr(pipe, "entities", "given") == "predicted":
            docs = [nlp.get_pipe(component)(doc) for doc in docs]
        for example, doc in zip(examples, docs):
            example.predicted = doc
        pipe.cfg["threshold"] = best_threshold(pipe, examples).threshold
        return nlp

    return tune
