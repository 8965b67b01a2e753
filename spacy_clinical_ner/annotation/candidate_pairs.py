"""Which pairs of a note's mentions does a pipeline ask its relation model about?"""

from __future__ import annotations

from collections import defaultdict
from typing import Callable, Dict, List, Set, Tuple

from spacy_clinical_ner.brat import BratDocument, to_doc
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.pairs import mentions_of
from spacy_clinical_ner.pipelines import load_pipeline
from spacy_clinical_ner.relations.pipe import RelationPipe


def candidates_of(name: str, spans_key: str = "sc") -> Callable[[BratDocument], Set[Tuple[Mention, Mention]]]:
    """A function that gives the ordered candidate pairs among the mentions of a document, for `evaluation.report`.

    name: folder or package of the pipeline. Mentions are handed to it as `annotate --given-entities` does.
    Raises ClinicalNerError if it cannot be loaded or has no component that finds relations.
    """
    nlp = load_pipeline(name)
    pipes = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, RelationPipe)]
    if not pipes:
        raise ClinicalNerError(f"{name}: no component of this pipeline finds relations")

    def candidates(document: BratDocument) -> Set[Tuple[Mention, Mention]]:
        doc = to_doc(nlp, document, spans_key=spans_key)
        # Mentions in several pieces are shown to the model from their first character to their last.
        by_extent: Dict[Tuple[str, int, int], List[Mention]] = defaultdict(list)
        for mention in mentions_of(document):
            by_extent[mention.label, mention.fragments[0][0], mention.fragments[-1][1]].append(mention)
        found: Set[Tuple[Mention, Mention]] = set()
        for pipe in pipes:
            (group,) = pipe.make_groups([(0, doc, pipe.mentions_between(doc))])
            shown = [by_extent[span.label_, span.start_char, span.end_char] for span in group.mentions.spans]
            for head, tail in zip(group.pairs.head.tolist(), group.pairs.tail.tolist()):
                found.update((one, other) for one in shown[head] for other in shown[tail])
        return found

    return candidates
