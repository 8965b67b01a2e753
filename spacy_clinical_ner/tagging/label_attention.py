"""`label_attention_ner`: the entity recogniser over a label attention network, which can show what it attended to."""

from typing import Any, Iterable, List

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_clinical_ner import extensions
from spacy_clinical_ner.bridge.factories import component_factory
from spacy_clinical_ner.bridge.torch_shim import DocModel
from spacy_clinical_ner.tagging.decoding import TokenMention
from spacy_clinical_ner.tagging.tagger_architectures import label_attention
from spacy_clinical_ner.tagging.tagger_component import SCORE_WEIGHTS, SHARED_CONFIG, CrfEntityRecognizer
from spacy_clinical_ner.tagging.views import View

DEFAULT_CONFIG = f"""
[model]
@architectures = "spacy-clinical-ner.LabelAttentionTagger.v1"
hidden_width = 200
layers = 2
heads = 5
decoder = "softmax"
{SHARED_CONFIG}
"""


class LabelAttentionRecognizer(CrfEntityRecognizer):
    """Entity recogniser whose network attends to its tags (Cui and Zhang 2019); the other settings are as in `crf_ner`.

    model: a `spacy-clinical-ner.LabelAttentionTagger.v1` model.
    store_attention: keep the attention of every token to every tag as `doc._.label_attention`. It is large (layers *
        heads * tags numbers a token), takes a second pass of the network, and is saved with the Doc.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: DocModel,
        name: str = "label_attention_ner",
        *,
        store_attention: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(vocab, model, name, **settings)
        self.store_attention = store_attention

    @property
    def tags(self) -> List[str]:
        """Names of the columns of the attention: "O", "B-<label>", ...; with a chain for each label "O-<label>", ..."""
        if self.spans_key is None:
            return self.scheme.tags(self.labels)
        return [f"O-{label}" if tag == "O" else tag for label in self.labels for tag in self.scheme.tags([label])]

    def set_annotations(self, docs: Iterable[Doc], scores: List[List[TokenMention]]) -> None:
        """Write predicted mentions and their confidence, and `doc._.label_attention` if that is asked for."""
        docs = list(docs)
        super().set_annotations(docs, scores)
        if self.store_attention:
            for doc, weights in zip(docs, label_attention(self.model, self.model_input(docs))):
                if self.view is not None:
                    weights = _on_tokens(self.view(doc), weights, len(doc))
                extensions.store_label_attention(doc, weights, self.tags)


def _on_tokens(view: View, weights: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """(layers, heads, words, tags) -> (layers, heads, tokens, tags), 0 for tokens that the view leaves out."""
    on_tokens = np.zeros((*weights.shape[:2], length, weights.shape[3]), dtype=weights.dtype)
    on_tokens[:, :, view.tokens] = weights
    return on_tokens


make_label_attention_ner = component_factory(
    "label_attention_ner",
    LabelAttentionRecognizer,
    config=DEFAULT_CONFIG,
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc._.label_attention"],
    score_weights=SCORE_WEIGHTS,
)
