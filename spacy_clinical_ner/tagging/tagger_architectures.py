"""Registered models for taggers: any spaCy tok2vec, a torch network over windows, and emissions for a decoder."""

from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, xp2torch
from thinc.types import Floats2d
from torch import nn

from spacy_clinical_ner.bridge.factories import takes_settings_of
from spacy_clinical_ner.bridge.torch_shim import (
    DocBackprop,
    DocModel,
    LazyTorchShim,
    as_floats2d,
    torch_shim,
    vector_width,
)
from spacy_clinical_ner.layers.crf.decoders import check_decoder, make_decoder
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.layers.encoders import EncoderBuilder
from spacy_clinical_ner.layers.label_attention import LabelAttentionNetwork
from spacy_clinical_ner.layers.tagger_network import TaggerNetwork, WindowTagger
from spacy_clinical_ner.windows.batches import WindowBatch
from spacy_clinical_ner.windows.planning import WindowSettings, window_batches


@registry.architectures("spacy-clinical-ner.CrfTagger.v1")
@takes_settings_of(WindowSettings)
def build_crf_tagger(
    tok2vec: DocModel,
    encoder: Optional[Callable[[int], nn.Module]] = None,
    scheme: str = "BIOES",
    dropout: float = 0.3,
    decoder: str = "crf",
    **windows: Any,
) -> DocModel:
    """Emission scores for every token of every Doc, and the decoder that reads them.

    tok2vec: any model from Docs to one vector a token (own Tok2Vec, a Tok2VecListener, a TransformerListener).
    encoder: builder of a contextual encoder (`spacy-clinical-ner.BiLSTM.v1`, ...), or none.
    scheme: "BIO" or "BIOES".
    dropout: on the encoder's input and output.
    decoder: "crf", or "softmax", where each token decides for itself (cross-entropy).
    windows: settings of `windows.planning.WindowSettings`.

    The component that owns the model sets attrs "labels" (of one chain) and "chains" before initialize. Output: one
    array (len(doc), chains * tags) for each Doc.
    """
    build = partial(build_network, scheme=scheme, encoder=encoder, dropout=dropout, decoder=decoder)
    return _window_model("crf_tagger", tok2vec, build, scheme, decoder, windows)


@registry.architectures("spacy-clinical-ner.LabelAttentionTagger.v1")
@takes_settings_of(WindowSettings)
def build_label_attention_tagger(
    tok2vec: DocModel,
    hidden_width: int = 200,
    layers: int = 2,
    heads: int = 5,
    decoder: str = "softmax",
    scheme: str = "BIOES",
    dropout: float = 0.3,
    **windows: Any,
) -> DocModel:
    """Hierarchically-refined label attention (Cui and Zhang 2019) over the tags of a scheme.

    hidden_width: width of each direction of the GRUs.
    layers: a GRU and attention over the tags each; with one layer it is a GRU tagger without attention.
    heads: attention heads of all layers but the last, which has one; they must divide 2 * hidden_width.
    decoder: "softmax" as in the paper, or "crf" over the last layer's attention scores.
    The rest, and the output, are as in `spacy-clinical-ner.CrfTagger.v1`.
    """
    if layers < 1 or heads < 1 or 2 * hidden_width % heads:
        raise ValueError(
            f"label attention needs at least one layer, and heads that divide 2 * hidden_width = {2 * hidden_width}, "
            f"not {layers} and {heads}"
        )
    sizes: Dict[str, Any] = {"hidden_width": hidden_width, "layers": layers, "heads": heads, "dropout": dropout}
    build = partial(build_label_attention, scheme=scheme, decoder=decoder, **sizes)
    return _window_model("label_attention_tagger", tok2vec, build, scheme, decoder, windows)


def _window_model(
    name: str,
    tok2vec: DocModel,
    build: Callable[..., WindowTagger],
    scheme: str,
    decoder: str,
    windows: Dict[str, Any],
) -> DocModel:
    """windows: settings as in `WindowSettings`."""
    settings = WindowSettings(**windows)
    if settings.window < 1 or settings.context < 0:
        raise ValueError(
            f"window must be at least 1 and context at least 0, not {settings.window} and {settings.context}"
        )
    check_decoder(decoder)
    return Model(
        name,
        forward,
        init=init,
        layers=[tok2vec],
        refs={"tok2vec": tok2vec},
        shims=[LazyTorchShim(build)],
        attrs={"scheme": scheme, **settings._asdict(), "labels": 0, "chains": 0},
    )


def build_network(
    input_width: int,
    labels: int,
    chains: int,
    scheme: str,
    encoder: Optional[EncoderBuilder],
    dropout: float,
    decoder: str,
) -> TaggerNetwork:
    """One chain over all labels, or one chain for each label (`labels` counts those of a single chain)."""
    return TaggerNetwork(input_width, chains, make_decoder(decoder, TagScheme(scheme), labels), encoder, dropout)


def build_label_attention(
    input_width: int, labels: int, chains: int, scheme: str, decoder: str, **sizes: Any
) -> LabelAttentionNetwork:
    """As `build_network`; sizes: the other settings of `LabelAttentionNetwork`."""
    return LabelAttentionNetwork(input_width, chains, make_decoder(decoder, TagScheme(scheme), labels), **sizes)


def network(model: Model) -> WindowTagger:
    """The torch module of a tagger's model. Raises ValueError before initialize, and for a pool, which has none."""
    if not model.shims:
        raise ValueError(f"a {model.name} has no network of its own")
    module = torch_shim(model).module
    assert isinstance(module, WindowTagger)
    return module


def init(model: Model, X: Optional[List[Doc]] = None, Y: Optional[List[Floats2d]] = None) -> None:
    tok2vec = model.get_ref("tok2vec")
    tok2vec.initialize(X=X)
    sizes = {name: model.attrs[name] for name in ("labels", "chains")}
    torch_shim(model).build(input_width=vector_width(tok2vec, X), **sizes)


def forward(model: DocModel, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], DocBackprop]:
    vectors, backprop_vectors = model.layers[0](docs, is_train)
    ops = model.ops
    lengths = ops.asarray1i([len(doc) for doc in docs])
    flat = ops.flatten(vectors)
    shim = torch_shim(model)
    module = network(model)
    module.train(is_train)
    with torch.set_grad_enabled(is_train):
        X = xp2torch(flat, requires_grad=is_train, device=shim.device)
        if len(X):
            Y = module(X, _windows(model, docs, shim.device))
        else:
            Y = X.new_zeros((0, module.output_width))
    emissions = ops.unflatten(as_floats2d(model, Y), lengths)

    def backprop(d_emissions: List[Floats2d]) -> List[Doc]:
        if len(X):
            Y.backward(xp2torch(ops.flatten(d_emissions), device=shim.device))
            backprop_vectors(ops.unflatten(as_floats2d(model, X.grad), lengths))
        return docs

    return emissions, backprop


def label_attention(model: DocModel, docs: List[Doc]) -> List[NDArray[np.float32]]:
    """What each Doc's tokens attend to: (layers, heads, len(doc), chains * tags).

    Raises ValueError for a model that is no LabelAttentionTagger.
    """
    module = network(model) if model.shims else None
    if not isinstance(module, LabelAttentionNetwork):
        raise ValueError("attention can be stored only with a spacy-clinical-ner.LabelAttentionTagger.v1 as the model")
    filled = [doc for doc in docs if len(doc)]
    shape = (len(module.encoders), module.heads, 0, module.output_width)
    if not filled:
        return [np.zeros(shape, dtype="float32") for _ in docs]
    device = torch_shim(model).device
    flat = model.ops.flatten(model.layers[0].predict(filled))
    module.eval()
    with torch.no_grad():
        weights = module.attention(xp2torch(flat, device=device), _windows(model, filled, device))
    array = weights.permute(1, 2, 0, 3).cpu().numpy()
    edges = np.cumsum([len(doc) for doc in docs])[:-1]
    return [np.ascontiguousarray(part) for part in np.split(array, edges, axis=2)]


def _windows(model: Model, docs: List[Doc], device: torch.device) -> List[WindowBatch]:
    return window_batches(docs, device, WindowSettings(*(model.attrs[name] for name in WindowSettings._fields)))
