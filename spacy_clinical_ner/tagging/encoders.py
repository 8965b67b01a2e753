"""Registered contextual encoders: settings in, a builder out that is told the width of its input later."""

from functools import partial
from typing import Callable, List

from spacy.util import registry
from torch import nn

from spacy_clinical_ner.layers import encoders


@registry.architectures("spacy-clinical-ner.BiLSTM.v1")
def BiLSTM(hidden_width: int = 128, depth: int = 1, dropout: float = 0.0) -> Callable[[int], nn.Module]:
    """Stacked bidirectional LSTM; its output is 2 * hidden_width wide.

    hidden_width: width of each direction. depth: layers. dropout: locked dropout between layers.
    """
    return partial(encoders.BiLSTM, hidden_width=hidden_width, depth=depth, dropout=dropout)


@registry.architectures("spacy-clinical-ner.IDCNN.v1")
def IDCNN(
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
