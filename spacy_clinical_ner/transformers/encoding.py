"""Running an encoder over windows of any number: sorted into batches, and again in halves where memory runs out."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Callable, ContextManager, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spacy_clinical_ner.bridge.memory import without_onednn
from spacy_clinical_ner.bridge.precision import mixed_precision
from spacy_clinical_ner.transformers.frozen_layers import FrozenLayers
from spacy_clinical_ner.transformers.int8 import Int8Copy
from spacy_clinical_ner.windows.batches import group_by_length

logger = logging.getLogger(__name__)
Tensors = Union[Tensor, Sequence[Tensor]]

# Among windows that are batched together, the longest is at most so much longer than the shortest: what a batch holds
# beyond is padding.
_MAX_RATIO = 1.25
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass
class FramedWindow:
    """A window as the encoder reads it.

    ids: (pieces,) with special ones. kept: ascending places of the vectors that are kept. row: where in the result the
    first of them goes; the others follow it.
    """

    ids: NDArray[np.int64]
    kept: NDArray[np.int64]
    row: int


@dataclass
class _Part:
    """Windows that went through the encoder together in training, and what it takes to do that again."""

    windows: List[FramedWindow]
    generators: List[Tensor]
    kept: Optional[Tensor]


class WindowEncoder:
    """Runs one module over windows.

    module: a Hugging Face encoder. pad: id of the padding piece. max_pieces: word pieces, padding included, that it
    reads at once; falls when memory runs out. recompute: keep no activations for the backward pass but compute them
    anew there, batch by batch, so that training needs the memory of one batch instead of that of a whole update; this
    is also turned on when memory runs out. mixed_precision: bfloat16 where the device has it; on CPUs only in training.
    frozen: lower layers whose output is kept from the first update on. int8: predict with 8-bit integers on a CPU.
    """

    def __init__(
        self,
        module: nn.Module,
        pad: int,
        max_pieces: int,
        recompute: bool = False,
        mixed_precision: bool = False,
        frozen: Optional[FrozenLayers] = None,
        int8: bool = False,
    ) -> None:
        self.module = module
        self.pad = pad
        self.max_pieces = max_pieces
        self.recompute = recompute
        self.mixed_precision = mixed_precision
        self.frozen = frozen
        self._int8 = Int8Copy(module) if int8 else None

    def predict(self, windows: Sequence[FramedWindow], width: int) -> Tensor:
        """(rows, width) vectors in the order of the windows. Raises what the module raises for a single window."""
        self.module.eval()
        result = self._empty(windows, width)
        with torch.no_grad(), without_onednn():
            for part, kept in self._run(windows, self._forward):
                result[_rows(part)] = kept.to(result.device)
        return result

    def begin_update(self, windows: Sequence[FramedWindow], width: int) -> Tuple[Tensor, Callable[[Tensor], None]]:
        """(rows, width) vectors, and a function that takes their gradient and adds to that of the parameters."""
        self.module.train()
        result = self._empty(windows, width)
        parts: List[_Part] = []

        def forward(part: List[FramedWindow]) -> Tensor:
            generators = random_states(self.device)
            with torch.set_grad_enabled(not self.recompute and bool(self._parameters())):
                kept = self._forward(part)
            parts.append(_Part(part, generators, kept if kept.requires_grad else None))
            return kept.detach()

        def release() -> bool:
            """Give up the activations of this update, if there are any."""
            self.recompute = True
            held = [part for part in parts if part.kept is not None]
            for part in held:
                part.kept = None
            return bool(held)

        for part, kept in self._run(windows, forward, release):
            result[_rows(part)] = kept.to(result.device)

        def backprop(gradient: Tensor) -> None:
            while parts:
                self._backward(parts.pop(), gradient)

        return result, backprop

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _parameters(self) -> List[nn.Parameter]:
        return [parameter for parameter in self.module.parameters() if parameter.requires_grad]

    def _empty(self, windows: Sequence[FramedWindow], width: int) -> Tensor:
        return torch.zeros((sum(len(window.kept) for window in windows), width), device=self.device)

    def _run(
        self,
        windows: Sequence[FramedWindow],
        work: Callable[[List[FramedWindow]], Tensor],
        release: Callable[[], bool] = lambda: False,
    ) -> Iterator[Tuple[List[FramedWindow], Tensor]]:
        """Yield batches with what `work` makes of them; one that needs too much memory is halved and tried again.

        release: frees memory that can be spared before anything is halved, and says whether there was any.
        """
        # The batch that needs most memory goes first: if any fails, it does.
        groups = group_by_length(
            [len(window.ids) for window in windows], self.max_pieces, _MAX_RATIO, longest_first=True
        )
        pending = [[windows[i] for i in group] for group in reversed(groups)]
        while pending:
            part = pending.pop()
            try:
                done = work(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure: Optional[BaseException] = error if len(part) == 1 else None
            else:
                yield part, done
                continue
            # Only here, where the failed attempt and its frames are gone, is its memory free.
            if release():
                pending.append(part)
            elif failure is not None:
                raise failure
            else:
                pending += reversed(self._halves(part))

    def _halves(self, part: List[FramedWindow]) -> List[List[FramedWindow]]:
        longest = max(len(window.ids) for window in part)
        self.max_pieces = max(longest, min(self.max_pieces, longest * len(part)) // 2)
        logger.warning(
            "Out of memory with %d windows of up to %d word pieces: going on with at most %d word pieces at once",
            len(part),
            longest,
            self.max_pieces,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        middle = len(part) // 2
        return [part[:middle], part[middle:]]

    def _backward(self, part: _Part, gradient: Tensor) -> None:
        parameters = self._parameters()
        if not parameters:
            return

        def work(windows: List[FramedWindow]) -> Tensor:
            kept = part.kept
            part.kept = None
            if kept is None:
                # The same dropout as in the forward pass; only a part that is halved here drops out anew.
                with replaying(part.generators, self.device):
                    kept = self._forward(windows)
            wanted = gradient[_rows(windows)].to(kept)
            add_gradients(kept, parameters, wanted)
            return wanted

        pending = [part.windows]
        while pending:
            windows = pending.pop()
            try:
                work(windows)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(windows) == 1:
                    raise
            pending += self._halves(windows)

    def _forward(self, windows: List[FramedWindow]) -> Tensor:
        """(kept, width) vectors of the windows, one after the other."""
        lengths = np.array([len(window.ids) for window in windows])
        longest = int(lengths.max())
        ids = np.full((len(windows), longest), self.pad, dtype="int64")
        for row, window in zip(ids, windows):
            row[: len(window.ids)] = window.ids
        mask = (np.arange(longest) < lengths[:, None]).astype("int64")
        kept = np.concatenate([number * longest + window.kept for number, window in enumerate(windows)])
        device = self.device
        # oneDNN alone makes use of a CPU's bfloat16, and predicts without (`memory.without_onednn`).
        inputs = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
        half = self.mixed_precision and (device.type != "cpu" or self.module.training)
        with mixed_precision(device, half), self._replayed(inputs, windows):
            output = self._current()(input_ids=inputs[0], attention_mask=inputs[1])
        hidden = output.last_hidden_state
        return hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(kept).to(device)].float()

    def _current(self) -> nn.Module:
        """What runs now: the module, or its 8-bit copy."""
        predicts = not self.module.training and self.device.type == "cpu"
        return self._int8() if self._int8 is not None and predicts else self.module

    def _replayed(self, inputs: Tuple[Tensor, Tensor], windows: List[FramedWindow]) -> ContextManager[None]:
        """Frozen layers do not run again while training lasts, evaluations in between included."""
        module = self._current()
        if self.frozen is None or module is not self.module or not (module.training or len(self.frozen.kept)):
            return contextlib.nullcontext()
        return self.frozen.replayed(module, *inputs, [window.ids for window in windows])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the GPU or beside it."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def add_gradients(outputs: Tensors, parameters: Sequence[nn.Parameter], gradients: Tensors) -> None:
    """Add to the gradients of the parameters what those of the outputs make of them.

    Unlike `backward()`, which may run out of memory half way, this leaves nothing behind if it fails.
    """
    found = torch.autograd.grad(outputs, parameters, gradients, allow_unused=True)
    for parameter, share in zip(parameters, found):
        if share is not None:
            parameter.grad = share if parameter.grad is None else parameter.grad.add_(share)


def _rows(windows: Sequence[FramedWindow]) -> Tensor:
    return torch.from_numpy(np.concatenate([window.row + np.arange(len(window.kept)) for window in windows]))


def random_states(device: torch.device) -> List[Tensor]:
    """The states of the random number generators that dropout draws from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


@contextlib.contextmanager
def replaying(states: List[Tensor], device: torch.device) -> Iterator[None]:
    """Draw the same random numbers once more, without a trace in those to come."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(states[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states[1], device)
        yield
