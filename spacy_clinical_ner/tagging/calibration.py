"""Making `span._.confidence` mean what it says: temperature scaling, and how to measure whether it worked.

Guo et al. 2017, "On Calibration of Modern Neural Networks": scores are divided by one temperature, chosen on held-out
notes. Of a CRF the whole chain is tempered (emissions and transitions), so the confidence stays an exact posterior. The
best path does not change, whatever the decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

import numpy as np
from numpy.typing import NDArray
from spacy.training import Example
from spacy.util import minibatch
from thinc.types import Floats2d

from spacy_clinical_ner import plotting
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.reliability import Reliability, reliability
from spacy_clinical_ner.tagging.gold import unknown_tokens
from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer

_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, with the reliability on the notes it was fitted on before (at the old one) and after."""

    temperature: float
    before: Reliability
    after: Reliability


class CalibrationSet:
    """Notes with gold mentions whose emissions are computed once, so that many temperatures can be tried.

    examples: their predicted Docs are run through the pipeline's components before `pipe` by the caller, if it listens
        to any. A predicted mention is right if its label and character offsets are those of a gold mention.
        Those on tokens of which the reference tells nothing are neither right nor wrong.
    """

    def __init__(self, pipe: CrfEntityRecognizer, examples: Iterable[Example], batch_size: int = 16) -> None:
        self.pipe = pipe
        self._notes: list[tuple[Floats2d, list[tuple[int, int]], set[tuple[int, int, str]], NDArray[np.bool_]]] = []
        for batch in minibatch(examples, batch_size):
            docs = [eg.predicted for eg in batch]
            for example, doc, emissions in zip(batch, docs, pipe.model.predict(pipe.model_input(docs))):
                offsets = [(token.idx, token.idx + len(token)) for token in doc]
                if pipe.view is not None:
                    offsets = [offsets[token] for token in pipe.view(doc).tokens]
                gold = {(s.start_char, s.end_char, s.label_) for s in pipe.gold_spans(example.reference)}
                unknown = np.zeros(len(doc), dtype=bool) if pipe.spans_key else unknown_tokens(example)
                if pipe.view is not None:
                    unknown = unknown[pipe.view(doc).tokens]
                self._notes.append((emissions, offsets, gold, unknown))

    def outcomes(self, temperature: float) -> tuple[list[float], list[bool]]:
        """Confidence of each predicted mention at this temperature, and whether the mention is right."""
        pipe = self.pipe
        kept = pipe.temperature, pipe.threshold
        pipe.temperature, pipe.threshold = temperature, 0.0
        try:
            decoded = pipe.decode([emissions for emissions, *_ in self._notes])
        finally:
            pipe.temperature, pipe.threshold = kept
        confidence, correct = [], []
        for mentions, (_, offsets, gold, unknown) in zip(decoded, self._notes):
            for mention in mentions:
                if unknown[mention.start : mention.end].any():
                    continue
                start, end = offsets[mention.start][0], offsets[mention.end - 1][1]
                confidence.append(mention.confidence)
                correct.append((start, end, pipe.labels[mention.label]) in gold)
        return confidence, correct

    def reliability(self, temperature: float) -> Reliability:
        """Raises ClinicalNerError if nothing was predicted."""
        confidence, correct = self.outcomes(temperature)
        if not confidence:
            raise ClinicalNerError("the pipeline finds no mention in these notes: there is nothing to calibrate")
        return reliability(confidence, correct)

    def fit(self, tolerance: float = 0.005) -> Calibration:
        """The temperature of least log loss, by golden-section search over its logarithm; stored in the component.

        tolerance: of the logarithm of the temperature.
        """
        before = self.reliability(self.pipe.temperature)
        low, high = math.log(_LOWEST), math.log(_HIGHEST)
        ratio = (math.sqrt(5) - 1) / 2
        inner = [high - ratio * (high - low), low + ratio * (high - low)]
        losses = [self.reliability(math.exp(x)).log_loss for x in inner]
        while high - low > tolerance:
            if losses[0] < losses[1]:
                high = inner[1]
                inner = [high - ratio * (high - low), inner[0]]
                losses = [self.reliability(math.exp(inner[0])).log_loss, losses[0]]
            else:
                low = inner[0]
                inner = [inner[1], low + ratio * (high - low)]
                losses = [losses[1], self.reliability(math.exp(inner[1])).log_loss]
        temperature = math.exp((low + high) / 2)
        self.pipe.temperature = temperature
        return Calibration(temperature, before, self.reliability(temperature))


def plot_reliability(path: Path, curves: dict[str, Reliability]) -> None:
    """A reliability diagram as PNG: accuracy over confidence for each named curve, and the mentions in each bin.

    Raises ClinicalNerError if matplotlib is not installed.
    """
    figure = plotting.new_figure(5, 6)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    upper.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfectly calibrated")
    for name, curve in curves.items():
        x, y = np.array(curve.confidence), np.array(curve.accuracy)
        (line,) = upper.plot(x, y, marker="o", markersize=4, label=f"{name} (ECE {curve.ece:.3f})")
        edges = np.linspace(0, 1, len(curve.count) + 1)
        lower.stairs(curve.count, edges, color=line.get_color())
    upper.set_ylabel("share of mentions that are right")
    upper.set_ylim(0, 1.02)
    upper.legend(loc="upper left", frameon=False)
    lower.set_yscale("symlog")
    lower.set_ylabel("mentions")
    lower.set_xlabel("confidence")
    lower.set_xlim(0, 1)
    plotting.save_figure(figure, path)
