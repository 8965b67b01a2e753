"""Registered contextual encoders: settings in, a builder out that is told the width of its input later."""

from functools import partial
from typing import Callable, List

from spacy.util import registry
from torch import nn

from spacy_clinical_ner.layers import attention, encoders


@registry.architectures("spacy-clinical-ner.BiLSTM.v1")
def build_bilstm(hidden_width: int = 128, depth: int = 1, dropout: float = 0.0) -> Callable[[int], nn.Module]:
    """Stacked bidirectional LSTM; its output is 2 * hidden_width wide.

    hidden_width: width of each direction. depth: layers. dropout: locked dropout between layers.
    """
    return partial(encoders.BiLSTM, hidden_width=hidden_width, depth=depth, dropout=dropout)


@registry.architectures("spacy-clinical-ner.BiGRU.v1")
def build_bigru(hidden_width: int = 128, depth: int = 1, dropout: float = 0.0) -> Callable[[int], nn.Module]:
    """Stacked bidirectional GRU; its output is 2 * hidden_width wide.

    hidden_width: width of each direction. depth: layers. dropout: locked dropout between layers.
    """
    return partial(encoders.BiGRU, hidden_width=hidden_width, depth=depth, dropout=dropout)


@registry.architectures("spacy-clinical-ner.IDCNN.v1")
def build_idcnn(
    filters: int = 128,
    blocks: int = 4,
    dilations: List[int] = [1, 1, 2],  # noqa: B006 - spaCy configs show list defaults as they are
    dropout: float = 0.5,
    share: bool = True,
) -> Callable[[int], nn.Module]:
    """Iterated dilated convolutions; the defaults are those of the CCKS-2019 system. Its output is `filters` wide."""
    return partial(
        encoders.IDCNN, filters=filters, blocks=blocks, dilations=tuple(dilations), dropout=dropout, share=share
    )


@registry.architectures("spacy-clinical-ner.MultiHeadAttention.v1")
def build_multi_head_attention(
    heads: int = 8, dropout: float = 0.1, residual: bool = True
) -> Callable[[int], nn.Module]:
    """Multi-head self-attention within each window, for the end of a `Stack.v1`; its output is as wide as its input.

    heads: 1 to 16 in the CCKS-2019 system; any number, whether it divides the width or not.
    dropout: on the attention weights. residual: add the input to the result.
    """
    return partial(attention.MultiHeadAttention, heads=heads, dropout=dropout, residual=residual)


@registry.architectures("spacy-clinical-ner.Stack.v1")
def build_stack(*builders: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    """Encoders one after the other, in the order of the config, where each is a section of its own:

    [components.crf_ner.model.encoder]
    @architectures = "spacy-clinical-ner.Stack.v1"

    [components.crf_ner.model.encoder.*.idcnn]
    @architectures = "spacy-clinical-ner.IDCNN.v1"

    [components.crf_ner.model.encoder.*.attention]
    @architectures = "spacy-clinical-ner.MultiHeadAttention.v1"
    """
    return partial(encoders.Stack, builders=builders)
