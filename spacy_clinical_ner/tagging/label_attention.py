"""`label_attention_ner`: the entity recogniser over a label attention network, which can show what it attended to."""

from typing import Any, Callable, Iterable, List, Optional

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Config, Model
from thinc.types import Floats2d

from spacy_clinical_ner import extensions
from spacy_clinical_ner.tagging.decoding import Mention
from spacy_clinical_ner.tagging.tagger_architectures import label_attention
from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer
from spacy_clinical_ner.tagging.views import View

DEFAULT_MODEL = """
[model]
@architectures = "spacy-clinical-ner.LabelAttentionTagger.v1"
hidden_width = 200
layers = 2
heads = 5
decoder = "softmax"
scheme = "BIOES"
window = 128
context = 16
dropout = 0.3

[model.tok2vec]
@architectures = "spacy.MultiHashEmbed.v2"
width = 128
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [10000, 1000, 5000, 2500]
include_static_vectors = false
"""


@Language.factory(
    "label_attention_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc._.label_attention"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "spans_key": None,
        "overwrite": False,
        "threshold": 0.0,
        "recall_bias": 0.0,
        "max_batch_tokens": 20000,
        "view": None,
        "store_attention": False,
        "scorer": {"@scorers": "spacy-clinical-ner.EntityScorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_label_attention_ner(
    nlp: Language,
    name: str,
    model: Model[List[Doc], List[Floats2d]],
    spans_key: Optional[str],
    overwrite: bool,
    threshold: float,
    recall_bias: float,
    max_batch_tokens: int,
    view: Optional[Callable[[Doc], View]],
    store_attention: bool,
    scorer: Optional[Callable],
) -> "LabelAttentionRecognizer":
    """Make a `label_attention_ner` component; see `crf_ner` for the settings that both have.

    model: a `spacy-clinical-ner.LabelAttentionTagger.v1` model.
    store_attention: keep the attention of every token to every tag as `doc._.label_attention`. It is large (layers *
        heads * tags numbers a token), takes a second pass of the network, and is saved with the Doc.
    """
    return LabelAttentionRecognizer(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        overwrite=overwrite,
        threshold=threshold,
        recall_bias=recall_bias,
        max_batch_tokens=max_batch_tokens,
        view=view,
        store_attention=store_attention,
        scorer=scorer,
    )


class LabelAttentionRecognizer(CrfEntityRecognizer):
    """Entity recogniser whose network attends to its tags (Cui and Zhang 2019)."""

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], List[Floats2d]],
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

    def set_annotations(self, docs: Iterable[Doc], scores: List[List[Mention]]) -> None:
        """Write predicted mentions and their confidence, and `doc._.label_attention` if that is asked for."""
        docs = list(docs)
        super().set_annotations(docs, scores)
        if self.store_attention:
            for doc, weights in zip(docs, label_attention(self.model, self.seen(docs))):
                if self.view is not None:
                    weights = _on_tokens(self.view(doc), weights, len(doc))
                extensions.set_label_attention(doc, extensions.LabelAttention(weights, self.tags))


def _on_tokens(view: View, weights: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """(layers, heads, words, tags) -> (layers, heads, tokens, tags), 0 for tokens that are not seen."""
    on_tokens = np.zeros((*weights.shape[:2], length, weights.shape[3]), dtype=weights.dtype)
    on_tokens[:, :, view.tokens] = weights
    return on_tokens
