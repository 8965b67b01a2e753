"""The model card of a pre-trained encoder: what it was trained on, in numbers; no text of any note."""

from __future__ import annotations

import platform
from typing import Any, Dict, Optional

import tokenizers
import torch
import transformers

from spacy_clinical_ner import __version__


def write_card(figures: Dict[str, Any], settings: Dict[str, Any], lang: Optional[str], start: Optional[str]) -> str:
    """Markdown for the README.md of the encoder. figures: as in `PretrainingSummary.to_dict`."""
    language = f"language: {lang}\n" if lang else ""
    if start:
        begun = f"Continued from `{start}`"
    elif settings["random_start"]:
        begun = "Trained from random weights"
    else:
        begun = (
            "Trained from weights that are random but for counted frequencies and associations of word pieces, and for "
            "heads that look at neighbours,"
        )
    origin = f"{begun} by masked language modelling with whole-word masking."
    vocabulary = (
        "Its vocabulary is that of the encoder it was continued from."
        if start
        else f"""Its cased vocabulary of word pieces was trained on the same notes, from words that at least
{settings["min_notes"]} of them have. Beside the weights, the vocabulary is all that is kept of the notes:
rare pieces in it may still be names of persons or places that several notes mention. Look through `vocab.txt` before
you give the encoder away."""
    )
    versions = {
        "spacy-clinical-ner": __version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
    }
    rows = "\n".join(f"| {name.replace('_', ' ')} | {_format(value)} |" for name, value in figures.items())
    chosen = "\n".join(f"| {name.replace('_', ' ')} | {_format(value)} |" for name, value in settings.items())
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"""---
{language}library_name: transformers
pipeline_tag: fill-mask
tags:
- clinical
- masked-language-modelling
---

# Encoder from raw notes

{origin}
It reads at most {figures["sequence_length"]} word pieces at once. {vocabulary}

Weights of a language model can give away what it was trained on. Treat this folder as you treat the notes unless
you have checked it.

## Trained on

| what | figure |
| --- | --- |
{rows}

The perplexity is that of masked pieces in notes that were held out by a hash of their names, always under the same
masks. Notes that nearly repeat another (Jaccard similarity of 5-word shingles) were left out first.

![Loss and perplexity](loss.png)

`loss.jsonl` has the loss of every step.

## Settings

| setting | value |
| --- | --- |
{chosen}

Versions: {used}.

## Use

```python
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModel.from_pretrained("FOLDER")
```
"""


def _format(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)
