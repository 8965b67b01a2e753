"""Token embeddings that look at each distinct word of a batch once."""

from typing import Callable, List, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d


@registry.architectures("spacy-clinical-ner.DistinctWords.v1")
def DistinctWords(embed: Model[List[Doc], List[Floats2d]]) -> Model[List[Doc], List[Floats2d]]:
    """Run a context-free embedding on the distinct words of a batch and hand the rows out to all their tokens.

    embed: any embedding whose vector depends on the word alone (spacy.MultiHashEmbed.v2, static vectors, characters).
        Under dropout all tokens of a word in a batch share one mask.

    The result equals `embed` itself; clinical notes repeat their words, so it costs a fraction.
    """
    return Model("distinct_words", forward, init=init, layers=[embed], dims={"nO": embed.maybe_get_dim("nO")})


def init(model: Model, X=None, Y=None) -> None:
    embed = model.layers[0]
    embed.initialize(X=X, Y=Y)
    if not model.has_dim("nO") and embed.has_dim("nO"):
        model.set_dim("nO", embed.get_dim("nO"))


def forward(
    model: Model[List[Doc], List[Floats2d]], docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    embed = model.layers[0]
    lengths = [len(doc) for doc in docs]
    if not sum(lengths):
        return embed(docs, is_train)
    orths = np.concatenate([doc.to_array(ORTH).reshape(-1) for doc in docs])
    distinct, rows = np.unique(orths, return_inverse=True)
    vocab = docs[0].vocab
    words = [vocab.strings[int(orth)] for orth in distinct]
    (vectors,), backprop_embed = embed([Doc(vocab, words=words)], is_train)
    rows = model.ops.asarray1i(rows.reshape(-1))
    Y = model.ops.unflatten(vectors[rows], lengths)

    def backprop(d_Y: List[Floats2d]) -> List[Doc]:
        d_vectors = model.ops.alloc2f(*vectors.shape)
        model.ops.scatter_add(d_vectors, rows, model.ops.flatten(d_Y))
        backprop_embed([d_vectors])
        return docs

    return Y, backprop
