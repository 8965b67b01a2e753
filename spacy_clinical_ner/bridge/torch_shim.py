"""Torch modules inside Thinc models whose size is known only once labels are."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import Any, Callable, Dict, Iterator, List, Optional, cast

import srsly
import torch
from spacy.tokens import Doc
from thinc.api import Model, PyTorchShim, get_torch_default_device, get_width, torch2xp, xp2torch
from thinc.types import Floats2d
from torch import Tensor, nn

# From Docs to one array (tokens, width) for each; and what takes the gradients of these.
DocModel = Model[List[Doc], List[Floats2d]]
DocBackprop = Callable[[List[Floats2d]], List[Doc]]


class LazyTorchShim(PyTorchShim):
    """A PyTorchShim that builds its module from plain sizes, when initialised or when loaded, whichever comes first.

    Differences from Thinc's: the sizes are stored beside the weights, so loading needs no initialisation before;
    weights are read with `weights_only=True`; and averaged parameters (`Adam(use_averages=True)`) are really used by
    `use_params` (Thinc stores them under the key (id, name) and looks for a string).

    build: callable taking the sizes as keyword arguments and returning the module.
    """

    def __init__(self, build: Callable[..., nn.Module]) -> None:
        super().__init__(None)
        self._build = build

    @property
    def module(self) -> nn.Module:
        """The module. Raises ValueError before it has been built."""
        if self._model is None:
            raise ValueError("the model has no labels yet: call initialize, or load a trained pipeline")
        return self._model

    def build(self, **sizes: Any) -> nn.Module:
        """Build a fresh module with these sizes (plain values, stored with it) on the device of the current ops."""
        self.cfg = dict(sizes)
        self._model = self._build(**sizes).to(get_torch_default_device())
        return self._model

    @contextlib.contextmanager
    def use_params(self, params: Dict[Any, Any]) -> Iterator[None]:
        """Swap in the averaged parameters of an optimizer for the time of the block."""
        if self._model is None:
            yield
            return
        swapped = {}
        for name, parameter in self._model.named_parameters():
            average = params.get((self.id, name))
            if average is not None:
                swapped[name] = parameter.data
                parameter.data = xp2torch(average, device=parameter.device).clone()
        try:
            yield
        finally:
            for name, parameter in self._model.named_parameters():
                if name in swapped:
                    parameter.data = swapped[name]

    def to_device(self, device_type: str, device_id: int) -> None:
        if self._model is not None:
            super().to_device(device_type, device_id)

    def finish_update(self, optimizer: Any) -> None:
        if self._model is not None:
            super().finish_update(optimizer)

    def to_bytes(self) -> bytes:
        state: Optional[bytes] = None
        if self._model is not None:
            buffer = BytesIO()
            torch.save(self._model.state_dict(), buffer)
            state = buffer.getvalue()
        return srsly.msgpack_dumps({"sizes": self.cfg, "state": state})

    def from_bytes(self, data: bytes) -> LazyTorchShim:
        message = srsly.msgpack_loads(data)
        if message["state"] is None:
            self.cfg, self._model = message["sizes"], None
            return self
        if self._model is None or self.cfg != message["sizes"]:
            self.build(**message["sizes"])
        buffer = BytesIO(message["state"])
        self.module.load_state_dict(torch.load(buffer, map_location=self.device, weights_only=True))
        return self


def torch_shim(model: Model) -> LazyTorchShim:
    """The LazyTorchShim that a model was made with; where its parts have one each, that of the first part."""
    return next(shim for node in model.walk() for shim in node.shims if isinstance(shim, LazyTorchShim))


def as_floats2d(model: Model, tensor: Optional[Tensor]) -> Floats2d:
    """A (rows, columns) tensor as an array of the model's ops, without its graph."""
    assert tensor is not None
    return cast(Floats2d, torch2xp(tensor.detach(), ops=model.ops))


def as_tensor(model: Model, array: Floats2d) -> Tensor:
    """An array as a tensor on the device of the model's module."""
    return xp2torch(array, device=torch_shim(model).device)


def vector_width(tok2vec: DocModel, docs: Optional[List[Doc]]) -> int:
    """Width of the vectors of an initialized tok2vec. Raises ValueError if neither it nor example Docs tell."""
    width = tok2vec.maybe_get_dim("nO")
    if width is None:
        if not docs:
            raise ValueError("the tok2vec does not know its width: initialize it with example Docs")
        width = get_width(tok2vec.predict(docs))
    return width
