"""A Hugging Face encoder and its tokenizer inside a Thinc model: loading, saving, freezing and learning rates."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import srsly
import torch
from spacy_transformers.data_classes import HFObjects
from thinc.api import Optimizer, get_torch_default_device, torch2xp, xp2torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from spacy_clinical_ner.bridge.memory import give_back_memory
from spacy_clinical_ner.bridge.torch_shim import LazyTorchShim
from spacy_clinical_ner.errors import ClinicalNerError, one_line
from spacy_clinical_ner.transformers.encoding import WindowEncoder
from spacy_clinical_ner.transformers.frozen_layers import FrozenLayers, WindowFile
from spacy_clinical_ner.transformers.piece_windows import SpecialPieces, special_pieces

UPDATES_TO_TRIM = 20  # after so many, freed memory goes back to the system


class EncoderSettings(NamedTuple):
    """How an encoder is run and trained; see `architectures.TransformerModel`."""

    mixed_precision: bool = False
    max_batch_pieces: int = 4096
    recompute: bool = False
    rate: float = 1.0
    layer_decay: float = 1.0
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    frozen_cache_gb: float = 0.0
    int8: bool = False
    store_float16: bool = False


class EncoderShim(LazyTorchShim):
    """Holds the encoder as torch module, and the tokenizer and settings that belong to it.

    Parameters are updated with their own share of the learning rate (`rates`), frozen ones not at all.
    """

    def __init__(self, tokenizer_config: Dict[str, Any], transformer_config: Dict[str, Any], settings: EncoderSettings):
        super().__init__(AutoModel.from_config)
        self.settings = settings
        self._hfmodel = HFObjects(None, None, None, tokenizer_config, transformer_config)
        self.special = SpecialPieces([], [])
        self._encoder: Optional[WindowEncoder] = None
        self._rates: Dict[str, float] = {}
        self._updates = 0

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
        kept = WindowFile(int(settings.frozen_cache_gb * 2**30))
        return FrozenLayers(_layers(self.module), settings.freeze_layers, kept)

    @property
    def room(self) -> Optional[int]:
        """Word pieces that the encoder takes at most, special ones included; None if it does not mind."""
        limits = [self.tokenizer.model_max_length, _positions(self.module)]
        known = [limit for limit in limits if limit is not None and limit < 10**9]
        return min(known, default=None)

    def load(self, name: str) -> None:
        """Load a pretrained encoder: a folder, or a name on the Hugging Face hub.

        Raises ClinicalNerError if there is no such encoder, and for one whose tokenizer cannot tell where in the text a
        word piece lies.
        """
        local = Path(name).is_dir()
        hf = self._hfmodel
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local, **hf._init_tokenizer_config)
            config = AutoConfig.from_pretrained(name, local_files_only=local, **hf._init_transformer_config)
            module = AutoModel.from_pretrained(name, local_files_only=local, config=config)
        except (OSError, ValueError) as error:
            raise ClinicalNerError(
                f"encoder '{name}' is no folder with one and cannot be fetched: {one_line(error)}"
            ) from error
        self.set(tokenizer, module)

    def set(self, tokenizer: Any, module: nn.Module) -> None:
        """Take an encoder with its tokenizer, on the device of the current ops, and apply the settings to it."""
        if not tokenizer.is_fast:
            raise ClinicalNerError(
                f"{type(tokenizer).__name__} does not tell where in a text its word pieces lie: choose an encoder with "
                "a fast tokenizer"
            )
        self._model = module.float().to(get_torch_default_device())
        self._hfmodel.tokenizer, self._hfmodel.transformer = tokenizer, self._model
        self.special = special_pieces(tokenizer)
        settings = self.settings
        depths, layers = _depths(self._model)
        if layers is None and (settings.freeze_layers or settings.layer_decay != 1.0):
            raise ClinicalNerError(
                f"the layers of {type(module).__name__} cannot be told apart (ALBERT's share their weights): leave "
                "freeze_layers at 0 and layer_decay at 1.0"
            )
        if settings.freeze_layers > (layers or 0):
            raise ClinicalNerError(f"freeze_layers is {settings.freeze_layers}, but the encoder has {layers} layers")
        top = (layers or 0) + 1
        self._rates = {}
        for parameter_name, parameter in self._model.named_parameters():
            depth = depths[parameter_name]
            frozen = settings.freeze_embeddings if depth == 0 else depth <= settings.freeze_layers
            parameter.requires_grad_(not frozen)
            self._rates[parameter_name] = settings.rate * settings.layer_decay ** max(0, top - 1 - depth)

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

    def to_bytes(self) -> bytes:
        if self._model is None:
            return srsly.msgpack_dumps({"state": None})
        buffer = BytesIO()
        state = self._model.state_dict()
        if self.settings.store_float16:
            state = {name: each.half() if each.is_floating_point() else each for name, each in state.items()}
        torch.save(state, buffer)
        with tempfile.TemporaryDirectory() as folder:
            # The one file that a fast tokenizer needs; vocabularies of slow ones may be missing.
            self.tokenizer.save_pretrained(folder, legacy_format=False)
            files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
        config = self._model.config.to_dict()
        return srsly.msgpack_dumps({"state": buffer.getvalue(), "config": config, "tokenizer": files})

    def from_bytes(self, data: bytes) -> EncoderShim:
        message = srsly.msgpack_loads(data)
        if message["state"] is None:
            return self
        with tempfile.TemporaryDirectory() as folder:
            for name, content in message["tokenizer"].items():
                (Path(folder) / name).write_bytes(content)
            srsly.write_json(Path(folder) / "config.json", message["config"])
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
        module = AutoModel.from_config(config).float()
        state = torch.load(BytesIO(message["state"]), map_location=get_torch_default_device(), weights_only=True)
        module.load_state_dict(state)
        self.set(tokenizer, module)
        return self


def _positions(module: Any) -> Optional[int]:
    """How many positions an encoder has learned, those left out that RoBERTa's kin never use."""
    count = getattr(module.config, "max_position_embeddings", None)
    if not isinstance(count, int) or count < 1:
        return None
    table = getattr(getattr(module, "embeddings", None), "position_embeddings", None)
    unused = getattr(table, "padding_idx", None)
    return count if unused is None else count - unused - 1


def _layers(module: Any) -> List[nn.Module]:
    """The layers of an encoder, from the first on; none if they cannot be told apart."""
    return _layer_list(module)[1]


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
