"""The look-up baseline of shared tasks: whatever was a mention in training is one wherever it stands."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import DefaultDict, Dict, List, Union

from spacy.util import registry

from spacy_clinical_ner.brat.reader import create_brat_corpus
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.tokenization import blank_pipeline


@registry.misc("spacy-clinical-ner.TrainingMentions.v1")
def training_mentions(path: Union[str, Path], spans_key: str = "sc") -> List[Dict[str, str]]:
    """Phrase patterns for an EntityRuler: every mention of a training corpus, once.

    path: a BRAT folder, or a .spacy file made by `clinical-ner convert`. spans_key: its group of all mentions, nested
    ones included; `doc.ents` count for Docs without it.

    Mentions that differ in case or white space alone count as one, spelt as the first of them with single spaces. One
    with several labels gets its most frequent label, of equally frequent ones the first in the alphabet. Give the
    EntityRuler `phrase_matcher_attr = "LOWER"`. Raises InputError for bad data and for a corpus without mentions.
    """
    labels: DefaultDict[str, Counter] = defaultdict(Counter)
    spellings: Dict[str, str] = {}
    # The words of a phrase do not depend on the language.
    for example in create_brat_corpus(path, spans_key=spans_key)(blank_pipeline("xx")):
        reference = example.reference
        for span in reference.spans.get(spans_key, reference.ents):
            text = " ".join(span.text.split())
            if text:
                labels[text.lower()][span.label_] += 1
                spellings.setdefault(text.lower(), text)
    if not labels:
        raise InputError(path, None, "no mention to look up in this corpus")
    return [
        {"label": min(counts, key=lambda label: (-counts[label], label)), "pattern": spellings[key]}
        for key, counts in labels.items()
    ]
