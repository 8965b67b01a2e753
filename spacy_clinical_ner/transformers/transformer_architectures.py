"""Registered models for spacy-transformers' `transformer` component that represent every token of every note."""

import copy
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from spacy.tokens import Doc
from spacy.util import registry
from spacy_transformers.data_classes import FullTransformerBatch
from spacy_transformers.layers import TransformerModel as StockTransformerModel
from spacy_transformers.layers import split_trf_batch, trfs2arrays
from thinc.api import Model, chain
from thinc.types import Floats2d, Ragged

from spacy_clinical_ner.bridge.factories import takes_settings_of
from spacy_clinical_ner.bridge.trainable import find_architectures
from spacy_clinical_ner.transformers.checks import check_representations
from spacy_clinical_ner.transformers.data import as_batch
from spacy_clinical_ner.transformers.encoding import FramedWindow
from spacy_clinical_ner.transformers.piece_windows import PieceWindow, WordPieceWindows
from spacy_clinical_ner.transformers.pieces import NotePieces, split_notes
from spacy_clinical_ner.transformers.shim import EncoderSettings, EncoderShim
from spacy_clinical_ner.transformers.special_pieces import SpecialPieces


@registry.architectures("spacy-clinical-ner.TransformerModel.v1")
@takes_settings_of(EncoderSettings)
def TransformerModel(
    name: str,
    get_spans: Any,  # so that it is this function that refuses others, and says what is right
    tokenizer_config: Dict[str, Any] = {},  # noqa: B006
    transformer_config: Dict[str, Any] = {},  # noqa: B006
    **settings: Any,
) -> Model[List[Doc], FullTransformerBatch]:
    """A pretrained encoder over windows of word pieces, in place of spacy-transformers' TransformerModel.

    Unlike that one it drops no word piece: windows are cut on pieces, not tokens, and every token has a vector. What
    listeners and `doc._.trf_data` see is described in `transformers.data`; of the encoder's outputs it is the last
    hidden state alone.

    name: a folder, or a name on the Hugging Face hub. get_spans: `spacy-clinical-ner.WordPieceWindows.v1`.
    tokenizer_config, transformer_config: settings for the tokenizer and the encoder's config.
    settings: those of `transformers.shim.EncoderSettings`.
    """
    if not isinstance(get_spans, WordPieceWindows):
        raise ValueError('the get_spans of this model must be @span_getters = "spacy-clinical-ner.WordPieceWindows.v1"')
    # Copies: spacy-transformers' own functions write into such dictionaries.
    shim = EncoderShim(dict(tokenizer_config), dict(transformer_config), EncoderSettings(**settings))
    return WindowTransformer(name, get_spans, Model("encoder", encode_directly, shims=[shim]))


@registry.architectures("spacy-clinical-ner.Tok2VecTransformer.v1")
@takes_settings_of(TransformerModel)
def Tok2VecTransformer(
    name: str, get_spans: WordPieceWindows, pooling: Model[Ragged, Floats2d], grad_factor: float = 1.0, **settings: Any
) -> Model[List[Doc], List[Floats2d]]:
    """The same encoder as a component's own tok2vec, without a `transformer` component; made by `replace_listeners`.

    pooling: from the vectors of a token's word pieces to its own. grad_factor: multiplies the gradient on its way down.
    settings: as in `TransformerModel`.
    """
    return chain(replace_listener(TransformerModel(name, get_spans, **settings)), trfs2arrays(pooling, grad_factor))


class WindowTransformer(StockTransformerModel):
    """The Thinc model behind both architectures; `tokenizer` and `transformer` are those of Hugging Face."""

    def __init__(self, name: str, get_spans: WordPieceWindows, encoder: Model) -> None:
        Model.__init__(
            self,
            "transformer",
            forward,
            init=init,
            layers=[encoder],
            dims={"nO": None},
            attrs={
                "name": name,
                "get_spans": get_spans,
                "has_transformer": False,
                "replace_listener": replace_listener,
                "replace_listener_cfg": replace_listener_cfg,
            },
        )

    def copy(self) -> "WindowTransformer":
        copied = WindowTransformer(self.attrs["name"], self.attrs["get_spans"], copy.deepcopy(self.layers[0]))
        copied.attrs["has_transformer"] = self.attrs["has_transformer"]
        if self.has_dim("nO"):
            copied.set_dim("nO", self.get_dim("nO"))
        return copied


def encoder_shim(model: Model) -> EncoderShim:
    """The shim of a `WindowTransformer`."""
    shim = model.layers[0].shims[0]
    assert isinstance(shim, EncoderShim)
    return shim


def encode_directly(model: Model, X: Any, is_train: bool) -> Any:
    raise NotImplementedError("the encoder is run by the model around it")


def replace_listener(model: Model) -> Model:
    return chain(model, split_trf_batch())


def replace_listener_cfg(transformer: Dict[str, Any], tok2vec: Dict[str, Any]) -> Dict[str, Any]:
    """The config of a tok2vec that stands for a listener and the transformer it listened to.

    tok2vec: of the component, wherever in it the listener is: spaCy does not tell which part it replaces.
    """
    _, listener = next(find_architectures(tok2vec, "TransformerListener"), ((), tok2vec))
    own: Dict[str, Any] = {key: listener[key] for key in ("pooling", "grad_factor") if key in listener}
    return {**transformer, **own, "@architectures": "spacy-clinical-ner.Tok2VecTransformer.v1"}


def init(model: Any, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    if model.attrs["has_transformer"]:
        return
    shim = encoder_shim(model)
    shim.load(model.attrs["name"])
    _room(model)
    model.attrs["has_transformer"] = True
    model.set_dim("nO", model.transformer.config.hidden_size)


def forward(
    model: Model[List[Doc], FullTransformerBatch], docs: List[Doc], is_train: bool
) -> Tuple[FullTransformerBatch, Callable[[FullTransformerBatch], List[Doc]]]:
    filled = [doc for doc in docs if len(doc)]
    if not filled:
        return FullTransformerBatch.empty(len(docs)), lambda d_batch: docs
    shim = encoder_shim(model)
    notes = split_notes(filled, shim.tokenizer)
    windows = model.attrs["get_spans"].plan(notes, _room(model))
    framed = frame(notes, windows, shim.special)
    width = model.get_dim("nO")
    if is_train:
        vectors, backprop_vectors = shim.encoder.begin_update(framed, width)
    else:
        vectors = shim.encoder.predict(framed, width)
    first_special = (shim.special.prefix or shim.special.suffix)[0]
    anchor = (first_special, shim.tokenizer.convert_ids_to_tokens(first_special))
    batch = as_batch(docs, notes, windows, anchor, vectors, model.ops)
    check_representations(docs, [data.align for data in batch.doc_data])

    def backprop(d_batch: FullTransformerBatch) -> List[Doc]:
        (rows,) = d_batch.model_output.to_tuple()
        backprop_vectors(rows[0])
        return docs

    return batch, backprop


def frame(notes: List[NotePieces], windows: List[PieceWindow], special: SpecialPieces) -> List[FramedWindow]:
    """Windows with special pieces around them, of which the first is kept beside the core (see `transformers.data`)."""
    framed = []
    row = 0
    for window in windows:
        ids = special.frame(notes[window.note].ids[window.start : window.end])
        offset = len(special.prefix) - window.start
        core = np.arange(window.core_start + offset, window.core_end + offset)
        kept = np.append(special.anchor(window.end - window.start), core)
        framed.append(FramedWindow(ids, kept, row))
        row += len(kept)
    return framed


def _room(model: Model) -> int:
    """Word pieces of the text that a window of this encoder holds. Raises ValueError if there is room for none."""
    shim = encoder_shim(model)
    windows: WordPieceWindows = model.attrs["get_spans"]
    length = min(windows.window, shim.room or windows.window)
    room = length - shim.special.size
    if room <= windows.overlap:
        raise ValueError(
            f"windows of {length} word pieces, of which {shim.special.size} are special ones, cannot overlap by "
            f"{windows.overlap}: choose a longer window or a smaller overlap"
        )
    return room
