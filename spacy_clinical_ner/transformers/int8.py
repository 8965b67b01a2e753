"""Encoders that predict with 8-bit integers on a CPU; turned on after training, for no other reason than speed.

Weights are rounded once, to 8 bits with a scale for each row; activations when they come, with a scale for each batch
(dynamic quantization: no data to calibrate on). Embeddings, attention itself and normalisation stay in float32.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, Dict, Tuple

import torch
from spacy.language import Language
from thinc.api import Model
from torch import nn

from spacy_clinical_ner.bridge.trainable import find_architectures
from spacy_clinical_ner.errors import ClinicalNerError

_ENCODERS = ("spacy-clinical-ner.TransformerModel.v1", "spacy-clinical-ner.Tok2VecTransformer.v1")


def to_int8(module: nn.Module) -> nn.Module:
    """A copy of a module on the CPU, for prediction alone, whose linear layers multiply integers.

    Raises ClinicalNerError if this torch was built without the kernels.
    """
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch plans to move these functions to a package of its own
            layers: Any = {nn.Linear: per_channel_dynamic_qconfig}
            return quantize_dynamic(copy.deepcopy(module).eval(), layers, dtype=torch.qint8)
    except (ImportError, RuntimeError) as error:
        raise ClinicalNerError(f"this torch ({torch.__version__}) has no 8-bit layers: set int8 = false") from error


class Int8Copy:
    """The 8-bit copy of a module, made when it is first asked for, and anew when the module's weights are others."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._copy: Any = None
        self._made_from: Tuple = ()

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_copy": None, "_made_from": ()}

    def __call__(self) -> nn.Module:
        weights = tuple((each.data_ptr(), each._version) for each in self._module.parameters())
        if weights != self._made_from:
            self._copy, self._made_from = to_int8(self._module), weights
        return self._copy


def use_int8(nlp: Language, on: bool = True) -> int:
    """Let all encoders of a pipeline predict with 8-bit integers, or no longer; `nlp.to_disk` keeps the choice.

    Returns how many encoders there are; it does nothing on a GPU, nor in training.
    """
    from spacy_clinical_ner.transformers.shim import EncoderShim

    found = 0
    for name, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        if not isinstance(model, Model):
            continue
        for node in model.walk():
            for shim in node.shims:
                if isinstance(shim, EncoderShim):
                    shim.set_int8(on)
                    found += 1
        for _, part in find_architectures(nlp.get_pipe_config(name), *_ENCODERS):
            part["int8"] = on
    return found
