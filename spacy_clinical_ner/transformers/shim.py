"""A Hugging Face encoder and its tokenizer inside a Thinc model: loading, saving, freezing and learning rates."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import srsly
import torch
from spacy_transformers.data_classes import HFObjects
from thinc.api import Optimizer, get_torch_default_device, torch2xp, xp2torch
from torch import nn

from spacy_clinical_ner.bridge.array_file import ArrayFile
from spacy_clinical_ner.bridge.memory import give_back_memory
from spacy_clinical_ner.bridge.torch_shim import LazyTorchShim
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.transformers.encoding import WindowEncoder
from spacy_clinical_ner.transformers.frozen_layers import FrozenLayers
from spacy_clinical_ner.transformers.loading import (
    build_encoder,
    load_encoder,
    longest_input,
    pack_tokenizer,
    unpack_tokenizer,
)
from spacy_clinical_ner.transformers.special_pieces import SpecialPieces, special_pieces

UPDATES_TO_TRIM = 5  # after so many, freed memory goes back to the system; see `memory.give_back_memory`


class EncoderSettings(NamedTuple):
    """How an encoder is run and trained.

    mixed_precision: bfloat16 on a GPU that has it, and in training on such a CPU; float32 elsewhere.
    max_batch_pieces: word pieces, padding included, that the encoder reads at once; bounds memory, changes no result.
        It is halved when memory runs out.
    recompute: in training, compute activations anew in the backward pass (Chen et al. 2016), so that memory is bounded
        by max_batch_pieces too, for about a third more time. Turned on when memory runs out.
    rate: multiplies the learning rate of the encoder; components that listen to it have the optimizer's own.
    layer_decay: multiplies it once more for each layer below the last one, and for the embeddings (Howard and Ruder
        2018, discriminative fine-tuning).
    freeze_embeddings, freeze_layers: leave the embeddings, and so many layers from the first on, as they are.
    frozen_cache_gb: where both are frozen, their output for each window of the training notes is computed once,
        without dropout, and kept in a temporary file of at most so many gigabytes (2^30 bytes; a word piece takes 4
        bytes for each of `hidden_size`), gone when training ends. 0 computes it anew in each epoch, with dropout.
    int8: predict with 8-bit integers on a CPU, see `transformers.int8`; may be turned on after training.
    store_float16: write the weights of the pipeline in half precision, half as large; computing stays in float32.
    """

    mixed_precision: bool = False
    max_batch_pieces: int = 4096
    recompute: bool = False
    rate: float = 1.0
    layer_decay: float = 1.0
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    frozen_cache_gb: float = 8.0
    int8: bool = False
    store_float16: bool = False

    def check(self) -> None:
        """Raise ValueError for a setting that cannot be."""
        least = min(self.freeze_layers, self.rate, self.frozen_cache_gb)
        if self.max_batch_pieces < 1 or least < 0 or self.layer_decay <= 0:
            raise ValueError(
                "max_batch_pieces must be at least 1, freeze_layers, rate and frozen_cache_gb at least 0 and "
                f"layer_decay above 0, not {self.max_batch_pieces}, {self.freeze_layers}, {self.rate}, "
                f"{self.frozen_cache_gb} and {self.layer_decay}"
            )


class FineTunedShim(LazyTorchShim):
    """A module whose encoder is frozen in part, or learns at other rates than the rest.

    Parameters are updated with their own share of the learning rate (`rates`), frozen ones not at all.

    encoder: name of the encoder among the parts of the module; "" if it is the module itself.
    """

    def __init__(self, build: Callable[..., nn.Module], settings: EncoderSettings, encoder: str) -> None:
        settings.check()
        super().__init__(build)
        self.settings = settings
        self._encoder_name = encoder
        self._rates: Dict[str, float] = {}
        self._updates = 0

    def build(self, **sizes: Any) -> nn.Module:
        module = super().build(**sizes)
        self.fine_tune()
        return module

    def fine_tune(self) -> None:
        """Freeze what the settings freeze, and find the rate of everything else; parts beside the encoder have 1.0.

        Raises ClinicalNerError for settings that need layers which the encoder does not have.
        """
        settings, encoder = self.settings, self.module.get_submodule(self._encoder_name)
        depths, layers = _depths(encoder)
        if layers is None and (settings.freeze_layers or settings.layer_decay != 1.0):
            raise ClinicalNerError(
                f"the layers of {type(encoder).__name__} cannot be told apart (ALBERT's share their weights): leave "
                "freeze_layers at 0 and layer_decay at 1.0"
            )
        if settings.freeze_layers > (layers or 0):
            raise ClinicalNerError(f"freeze_layers is {settings.freeze_layers}, but the encoder has {layers} layers")
        self._rates = dict.fromkeys((name for name, _ in self.module.named_parameters()), 1.0)
        prefix = f"{self._encoder_name}." if self._encoder_name else ""
        for name, parameter in encoder.named_parameters():
            depth = depths[name]
            frozen = settings.freeze_embeddings if depth == 0 else depth <= settings.freeze_layers
            parameter.requires_grad_(not frozen)
            self._rates[prefix + name] = settings.rate * settings.layer_decay ** max(0, (layers or 0) - depth)

    @property
    def rates(self) -> Dict[str, float]:
        """What the learning rate is multiplied with, by parameter; frozen ones are left out."""
        return {name: self._rates[name] for name, each in self.module.named_parameters() if each.requires_grad}

    def finish_update(self, optimizer: Optimizer) -> None:
        if self._model is None:
            return
        for name, parameter in self._model.named_parameters():
            if parameter.grad is None:
                continue
            weights, _ = optimizer(
                (self.id, name),
                torch2xp(parameter.data),  # type: ignore[arg-type]
                torch2xp(parameter.grad),  # type: ignore[arg-type]
                lr_scale=self._rates[name],
            )
            parameter.data = xp2torch(weights, device=parameter.device)
            parameter.grad = None
        self._updates += 1
        if self._updates % UPDATES_TO_TRIM == 0:
            give_back_memory()


class EncoderShim(FineTunedShim):
    """Holds the encoder as torch module, and the tokenizer and settings that belong to it."""

    def __init__(self, tokenizer_config: Dict[str, Any], transformer_config: Dict[str, Any], settings: EncoderSettings):
        super().__init__(build_encoder, settings, "")
        self._hfmodel = HFObjects(None, None, None, tokenizer_config, transformer_config)
        self.special = SpecialPieces([], [])
        self._encoder: Optional[WindowEncoder] = None

    @property
    def tokenizer(self) -> Any:
        return self._hfmodel.tokenizer

    @property
    def encoder(self) -> WindowEncoder:
        """What runs the module. Raises ValueError before there is one."""
        if self._encoder is None or self._encoder.module is not self.module:
            settings = self.settings
            pad = self.tokenizer.pad_token_id
            self._encoder = WindowEncoder(
                self.module,
                0 if pad is None else pad,
                settings.max_batch_pieces,
                settings.recompute,
                settings.mixed_precision,
                self._frozen(),
                settings.int8,
            )
        return self._encoder

    def set_int8(self, on: bool) -> None:
        """Predict with 8-bit integers from now on, or no longer."""
        self.settings = self.settings._replace(int8=on)
        self._encoder = None

    def _frozen(self) -> Optional[FrozenLayers]:
        """The layers whose output is kept in training: frozen ones above frozen embeddings."""
        settings = self.settings
        if not (settings.freeze_embeddings and settings.freeze_layers and settings.frozen_cache_gb):
            return None
        kept = ArrayFile(int(settings.frozen_cache_gb * 2**30))
        return FrozenLayers(_layer_list(self.module)[1], settings.freeze_layers, kept)

    @property
    def room(self) -> Optional[int]:
        """Word pieces that the encoder takes at most, special ones included; None if it does not mind."""
        return longest_input(self.tokenizer, self.module)

    def load(self, name: str) -> None:
        """Load a pretrained encoder; name and errors are those of `load_encoder`."""
        hf = self._hfmodel
        tokenizer, module = load_encoder(
            name, tokenizer_config=hf._init_tokenizer_config, model_config=hf._init_transformer_config
        )
        self.set(tokenizer, module)

    def set(self, tokenizer: Any, module: nn.Module) -> None:
        """Take an encoder with its tokenizer, on the device of the current ops, and apply the settings to it."""
        self._model = module.float().to(get_torch_default_device())
        self._hfmodel.tokenizer, self._hfmodel.transformer = tokenizer, self._model
        self.special = special_pieces(tokenizer)
        self.fine_tune()

    def to_bytes(self) -> bytes:
        if self._model is None:
            return srsly.msgpack_dumps({"state": None})
        buffer = BytesIO()
        state = self._model.state_dict()
        if self.settings.store_float16:
            state = {name: each.half() if each.is_floating_point() else each for name, each in state.items()}
        torch.save(state, buffer)
        parts = {"config": self._model.config.to_dict(), "tokenizer": pack_tokenizer(self.tokenizer)}
        return srsly.msgpack_dumps({"state": buffer.getvalue(), **parts})

    def from_bytes(self, data: bytes) -> EncoderShim:
        message = srsly.msgpack_loads(data)
        if message["state"] is None:
            return self
        config = message["config"]
        tokenizer, module = unpack_tokenizer(message["tokenizer"], config), build_encoder(config)
        state = torch.load(BytesIO(message["state"]), map_location=get_torch_default_device(), weights_only=True)
        module.load_state_dict(state)
        self.set(tokenizer, module)
        return self


def _layer_list(module: Any) -> Tuple[str, List[nn.Module]]:
    """Name and members of the list of layers; none for ALBERT, whose layers share their weights."""
    if getattr(module.config, "num_hidden_groups", None) is not None:
        return "", []
    wanted = getattr(module.config, "num_hidden_layers", None)
    for name, each in module.named_modules():
        if isinstance(each, nn.ModuleList) and len(each) == wanted and not name.startswith("embeddings"):
            return name, list(each)
    return "", []


def _depths(module: Any) -> tuple[Dict[str, int], Optional[int]]:
    """Depth of each parameter (0 for embeddings, 1 for the first layer, ...) and the number of layers.

    What belongs neither to the embeddings nor to a layer (a pooler, a last normalisation) is as deep as the last layer.
    The number is None if there is no list of that many layers, each with weights of its own.
    """
    name, stack = _layer_list(module)
    prefix = f"{name}." if stack else None
    layers = len(stack) or None
    depths = {}
    for name, _ in module.named_parameters():
        if prefix is not None and name.startswith(prefix):
            depths[name] = int(name[len(prefix) :].partition(".")[0]) + 1
        elif "embedding" in name.partition("layer")[0]:
            depths[name] = 0
        else:
            depths[name] = layers or 1
    return depths, layers
