"""Token embeddings: from characters, each distinct word of a batch looked at once, and several side by side."""

from functools import partial
from typing import Any, List, Optional, Tuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, xp2torch
from thinc.types import Floats2d, Ints1d

from spacy_clinical_ner.bridge.factories import takes_settings_of
from spacy_clinical_ner.bridge.torch_shim import DocBackprop, DocModel, LazyTorchShim, as_floats2d, torch_shim
from spacy_clinical_ner.layers.char_cnn import CharCNN
from spacy_clinical_ner.tagging.word_cache import WordCache

_CHARACTER_ROWS = 1024


@registry.architectures("spacy-clinical-ner.DistinctWords.v1")
def build_distinct_words(embed: DocModel, max_words: int = 50_000) -> DocModel:
    """Run a context-free embedding on the distinct words of a batch and hand the rows out to all their tokens.

    embed: any embedding whose vector depends on the word alone (spacy.MultiHashEmbed.v2, static vectors, characters).
        Under dropout all tokens of a word in a batch share one mask.
    max_words: while predicting, so many words are remembered from batch to batch (0: none), those that come first.

    The result equals `embed` itself; clinical notes repeat their words, so it costs a fraction.
    """
    if max_words < 0:
        raise ValueError(f"max_words must be at least 0, not {max_words}")
    return Model(
        "distinct_words",
        forward,
        init=init,
        layers=[embed],
        dims={"nO": embed.maybe_get_dim("nO")},
        shims=[WordCache(max_words)],
    )


def init(model: Model, X=None, Y=None) -> None:
    embed = model.layers[0]
    embed.initialize(X=X, Y=Y)
    word_cache(model).clear()
    if not model.has_dim("nO") and embed.has_dim("nO"):
        model.set_dim("nO", embed.get_dim("nO"))


def forward(model: DocModel, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], DocBackprop]:
    embed = model.layers[0]
    lengths = [len(doc) for doc in docs]
    if not sum(lengths):
        return embed(docs, is_train)
    orths = np.concatenate([doc.to_array(ORTH).reshape(-1) for doc in docs])
    distinct, inverse = np.unique(orths, return_inverse=True)
    vocab = docs[0].vocab
    rows = model.ops.asarray1i(cast(Ints1d, inverse.reshape(-1)))

    def as_doc(orths: NDArray[np.uint64]) -> Doc:
        return Doc(vocab, words=[vocab.strings[int(orth)] for orth in orths])

    def hand_out(vectors: Floats2d) -> List[Floats2d]:
        return model.ops.unflatten(vectors[rows], model.ops.asarray1i(lengths))

    if not is_train:
        known = word_cache(model).look_up(vocab, distinct, lambda orths: embed.predict([as_doc(orths)])[0])
        return hand_out(known), lambda d_Y: docs
    (vectors,), backprop_embed = embed([as_doc(distinct)], is_train)

    def backprop(d_Y: List[Floats2d]) -> List[Doc]:
        d_vectors = model.ops.alloc2f(*vectors.shape)
        model.ops.scatter_add(d_vectors, rows, model.ops.flatten(d_Y))
        backprop_embed([d_vectors])
        return docs

    return hand_out(vectors), backprop


def word_cache(model: Model) -> WordCache:
    """What a DistinctWords model remembers while predicting."""
    cache = model.shims[0]
    assert isinstance(cache, WordCache)
    return cache


@registry.architectures("spacy-clinical-ner.Concatenate.v1")
def build_concatenate(*parts: DocModel) -> DocModel:
    """The vectors of several tok2vecs, one behind the other.

    parts: a transformer's listener and word vectors, for example. Thinc's own `concatenate.v1` does the same for Docs
        that have a token; of an empty one a listener returns vectors without a width, where that ends with an error.
    Raises ValueError without parts.
    """
    if not parts:
        raise ValueError("there is nothing to concatenate: name one tok2vec at least")
    return Model("concatenate", concatenate_forward, init=concatenate_init, layers=list(parts), dims={"nO": None})


def concatenate_init(model: Model, X=None, Y=None) -> None:
    for part in model.layers:
        part.initialize(X=X)
    widths = [part.maybe_get_dim("nO") for part in model.layers]
    if None not in widths:
        model.set_dim("nO", sum(cast(List[int], widths)))


def concatenate_forward(model: DocModel, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], DocBackprop]:
    outputs, callbacks = zip(*(part(docs, is_train) for part in model.layers))
    edges = np.cumsum([max((array.shape[1] for array in arrays), default=0) for arrays in outputs]).tolist()
    stacked = [
        model.ops.xp.hstack(arrays) if len(doc) else model.ops.alloc2f(0, edges[-1])
        for doc, arrays in zip(docs, zip(*outputs))
    ]

    def backprop(d_Y: List[Floats2d]) -> List[Doc]:
        for first, last, callback in zip([0, *edges], edges, callbacks):
            callback([model.ops.as_contig(array[:, first:last]) for array in d_Y])
        return docs

    return stacked, backprop


@registry.architectures("spacy-clinical-ner.CharCNN.v1")
@takes_settings_of(CharCNN, "rows")
def build_char_cnn(embed: Optional[DocModel] = None, max_chars: int = 30, **settings: Any) -> DocModel:
    """Vectors from the characters of a word, behind those of another embedding, if there is one.

    embed: the other embedding (static vectors, hashed features).
    max_chars: longer words are known by their first and last characters, half of the number each.
    settings: those of `layers.char_cnn.CharCNN`; `filters` is the width that is added.

    Wrap it into `spacy-clinical-ner.DistinctWords.v1`, or every token is convolved anew. Characters have their own row
    in the table by their code point, without a vocabulary, so that no character is ever unknown; far ones may share.
    """
    if max_chars < 2:
        raise ValueError(f"max_chars must be at least 2, not {max_chars}")
    characters: DocModel = Model(
        "char_cnn",
        char_forward,
        init=char_init,
        dims={"nO": settings["filters"]},
        attrs={"max_chars": max_chars},
        shims=[LazyTorchShim(partial(CharCNN, rows=_CHARACTER_ROWS, **settings))],
    )
    return characters if embed is None else build_concatenate(embed, characters)


def char_init(model: Model, X=None, Y=None) -> None:
    torch_shim(model).build()


def char_forward(model: DocModel, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], DocBackprop]:
    lengths = [len(doc) for doc in docs]
    shim = torch_shim(model)
    module = shim.module
    if not sum(lengths):
        return [model.ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda d_Y: docs
    ids = _character_ids([token.text for doc in docs for token in doc], model.attrs["max_chars"])
    module.train(is_train)
    with torch.set_grad_enabled(is_train):
        Y = module(torch.from_numpy(ids).to(shim.device))

    def backprop(d_Y: List[Floats2d]) -> List[Doc]:
        Y.backward(xp2torch(model.ops.flatten(d_Y), device=shim.device))
        return docs

    return model.ops.unflatten(as_floats2d(model, Y), model.ops.asarray1i(lengths)), backprop


def _character_ids(words: List[str], max_chars: int) -> NDArray[np.int64]:
    head = max_chars // 2
    cut = [w if len(w) <= max_chars else w[:head] + w[head - max_chars :] for w in words]
    ids = np.zeros((len(cut), max(map(len, cut))), dtype="int64")
    for row, word in zip(ids, cut):
        row[: len(word)] = [1 + ord(character) % (_CHARACTER_ROWS - 1) for character in word]
    return ids
