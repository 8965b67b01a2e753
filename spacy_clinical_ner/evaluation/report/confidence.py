"""Does the confidence of predicted mentions mean what it says, and what does a threshold on it bring?"""

from __future__ import annotations

from typing import AbstractSet, Any, Dict, List, Mapping, Optional

import numpy as np

from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.metrics import precision_recall_f
from spacy_clinical_ner.evaluation.reliability import reliability

BINS = 10
_THRESHOLDS = 101


class Confidences:
    """Confidence of predicted mentions beside whether they were right (strictly)."""

    def __init__(self) -> None:
        self.gold = 0
        self.predicted = 0
        self._values: List[float] = []
        self._right: List[bool] = []

    def add(self, confidence: Mapping[Mention, float], gold: AbstractSet[Mention], predicted: int) -> None:
        """confidence: of the predicted mentions of one note that have one. predicted: how many it has in all."""
        self.predicted += predicted
        for mention, value in confidence.items():
            self._values.append(value)
            self._right.append(mention in gold)

    def result(self) -> Optional[Dict[str, Any]]:
        """None without any confidence; else the reliability and precision, recall and F over the threshold.

        {"mentions", "without_confidence", "reliability": see `Reliability.to_dict`,
         "thresholds": [...], "p": [...], "r": [...], "f": [...], "best": {"threshold", "p", "r", "f"}}
        Mentions without a confidence are left out at every threshold.
        """
        if not self._values:
            return None
        values, right = np.array(self._values), np.array(self._right)
        thresholds = np.linspace(0.0, 1.0, _THRESHOLDS)
        kept = values[None, :] >= thresholds[:, None]
        tp = (kept & right).sum(axis=1)
        fp = kept.sum(axis=1) - tp
        figures = precision_recall_f(np.stack([tp, fp, self.gold - tp], axis=-1))
        best = int(figures[:, 2].argmax())
        return {
            "mentions": len(values),
            "without_confidence": self.predicted - len(values),
            "reliability": reliability(self._values, self._right, BINS).to_dict(),
            "thresholds": [round(float(value), 2) for value in thresholds],
            **{name: figures[:, column].tolist() for column, name in enumerate("prf")},
            "best": {
                "threshold": round(float(thresholds[best]), 2),
                **dict(zip("prf", map(float, figures[best]))),
            },
        }
