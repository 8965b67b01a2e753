"""A spaCy pipeline at work, for `benchmarks.tagger speed`, `linear` and `edsnlp`: what is timed, and nothing else.

python -m benchmarks.tagger.worker WHAT ..., where WHAT ... is

infer MODEL NOTES THREADS    rounds over all raw texts of a folder
train MODEL UPDATES THREADS  rounds of updates, with everything as the pipeline's config.cfg says
linear MODEL NOTES THREADS   rounds over notes of a given number of tokens
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import spacy
import torch
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.util import fix_random_seed, registry, resolve_dot_names

from benchmarks.rounds import count_words, note_files, peak_rss_mib, read_note, serve

Actions = Dict[str, Callable[..., Dict[str, Any]]]


def infer(nlp: Language, notes: Path) -> Actions:
    """Rounds of `nlp.pipe` over the raw texts, with the batch size of the pipeline's own config."""
    texts = [read_note(path) for path in note_files(notes)]
    words = count_words(texts)

    def timed_round() -> Dict[str, Any]:
        started = time.perf_counter()
        for _ in nlp.pipe(texts):
            pass
        return {"words": words, "seconds": time.perf_counter() - started}

    return {"round": timed_round}


def train(nlp: Language, updates: int) -> Actions:
    """Rounds of `updates` steps of training, words counted in the raw texts that the batches hold.

    Starts from the trained weights, so that neither system is timed on the untypical predictions of its first steps.
    """
    config = nlp.config.interpolate()
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(config, [settings["train_corpus"]])
    fix_random_seed(0)
    batches = endless_batches(list(corpus(nlp)), settings["batcher"])
    optimizer = settings["optimizer"]
    dropouts = itertools.repeat(settings["dropout"]) if isinstance(settings["dropout"], float) else settings["dropout"]

    def timed_round() -> Dict[str, Any]:
        chosen = list(itertools.islice(batches, updates))
        words = count_words(example.reference.text for batch in chosen for example in batch)
        started = time.perf_counter()
        for batch, dropout in zip(chosen, dropouts):
            nlp.update(
                batch,
                drop=dropout,
                sgd=optimizer,
                exclude=settings["frozen_components"],
                annotates=settings["annotating_components"],
            )
            optimizer.step_schedules()
        return {"words": words, "seconds": time.perf_counter() - started}

    return {"round": timed_round}


def endless_batches(examples: List[Example], batcher: Callable) -> Iterator[List[Example]]:
    """Epoch after epoch in another order, the predicted Docs as fresh as `spacy train` hands them to an update."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(examples), generator=generator).tolist()
        yield from batcher(Example(examples[i].predicted.copy(), examples[i].reference) for i in order)


def linear(model: str, notes: Path) -> Actions:
    """Rounds that tag the same tokens as notes of `tokens` each; nothing is computed before it is asked for.

    Every round loads the pipeline anew, so that it has seen none of the words before, whatever the length of the notes.
    """
    prepared: Dict[tuple, List[str]] = {}

    def timed_round(tokens: int, total: int) -> Dict[str, Any]:
        nlp = spacy.load(model)
        nlp.max_length = sys.maxsize  # a guard of spaCy's parser, which is not used here
        if (tokens, total) not in prepared:
            prepared[tokens, total] = joined_notes(spacy.load(model), notes, tokens, total)
        texts = prepared[tokens, total]
        started = time.perf_counter()
        tagged = sum(len(nlp(text)) for text in texts)
        return {"tokens": tagged, "notes": len(texts), "seconds": time.perf_counter() - started}

    def at_rest() -> Dict[str, Any]:
        spacy.load(model)
        return {"at_rest_mib": peak_rss_mib()}

    return {"round": timed_round, "memory": at_rest}


def joined_notes(nlp: Language, folder: Path, tokens: int, total: int) -> List[str]:
    """Texts of exactly `tokens` tokens each, `total` together: the notes of a folder joined, over and over, and cut."""
    texts = itertools.cycle([read_note(path) for path in note_files(folder)])
    parts, found = [], 0
    while found < total:
        parts.append(next(texts).rstrip() + "\n\n")
        found += len(nlp.tokenizer(parts[-1]))
    doc = nlp.tokenizer("".join(parts))
    return [doc[start : start + tokens].text_with_ws for start in range(0, total, tokens)]


def main(what: str, model: str, argument: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    if what == "train":
        serve(train(spacy.load(model), int(argument)))
    elif what == "infer":
        serve(infer(spacy.load(model), Path(argument)))
    else:
        serve(linear(model, Path(argument)))


if __name__ == "__main__":
    main(*sys.argv[1:])
