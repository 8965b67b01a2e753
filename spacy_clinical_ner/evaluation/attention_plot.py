"""A picture of what a label attention network looks at. It shows the tokens: note text, because it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from spacy.tokens import Doc, Token

from spacy_clinical_ner import plotting
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.extensions import get_label_attention


def plot_label_attention(doc: Doc, path: Union[str, Path], start: int, end: int, layer: int = -1) -> None:
    """Heat map (PNG) of the attention of the tokens doc[start:end] to the tags in one layer, the mean over its heads.

    layer: 0 is the first; -1 the last, whose attention is what the softmax decoder chooses by.
    Raises ClinicalNerError if the Doc has no attention or matplotlib is missing, ValueError for tokens or layers that
    are not there.
    """
    attention = get_label_attention(doc)
    if attention is None:
        raise ClinicalNerError(
            "the Doc has no label attention: annotate it with a label_attention_ner that has store_attention = true"
        )
    layers = len(attention.weights)
    if not 0 <= start < end <= len(doc):
        raise ValueError(f"no tokens {start} to {end} in a Doc of {len(doc)}")
    if not -layers <= layer < layers:
        raise ValueError(f"no layer {layer} among {layers}")
    tokens = [_visible(token) for token in doc[start:end]]
    tags = attention.tags
    height = 1.4 + 0.22 * len(tokens) + 0.07 * max(map(len, tags))
    figure = plotting.new_figure(3.0 + 0.3 * len(tags), height, [*tokens, *tags])
    axes = figure.add_subplot()
    weights = attention.weights[layer, :, start:end].mean(0)
    image = axes.imshow(weights, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0)
    # Dollar signs would be read as formulas.
    axes.set_xticks(range(len(tags)), tags, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(tokens)), tokens, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    axes.set_title(f"Attention to tags, layer {layer % layers + 1} of {layers}", fontsize=10)
    figure.colorbar(image, ax=axes, label="weight")
    plotting.save_figure(figure, path)


def _visible(token: Token) -> str:
    return repr(token.text)[1:-1] if token.is_space else token.text
