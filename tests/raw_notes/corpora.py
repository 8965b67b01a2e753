"""Small made-up notes to pre-train on, and settings with which that takes seconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import List

from spacy_clinical_ner.raw_notes import settings

SUBJECTS = ["Carcinoma", "Metástasis", "Lesión", "Niña", "Tumoración"]
VERBS = ["de", "con", "sin", "en"]
OBJECTS = ["próstata", "mama", "pulmón", "hígado", "37º", "pT2N1M0", "úlcera", "fiebre"]
TINIEST = settings.Size(1, 16, 2, 32, 200, 16, 4, 5e-3, 0.1)


def make_notes(count: int = 40, words: int = 40, seed: int = 0) -> List[str]:
    generator = random.Random(seed)
    notes = []
    for _ in range(count):
        parts: List[str] = []
        while len(parts) < words:
            parts += [generator.choice(SUBJECTS), generator.choice(VERBS), generator.choice(OBJECTS), "."]
        notes.append(" ".join(parts))
    return notes


def write_notes(folder: Path, texts: List[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"note{number:03}.txt").write_text(text, encoding="utf8")
    return folder
