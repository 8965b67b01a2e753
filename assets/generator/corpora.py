"""Which corpora there are, how large, and what is done to which of their notes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Callable, Dict, Iterator, Tuple, Union

from generator import disturb
from generator.derive import HELD_OUT_SHARE, derive
from generator.drafts import Draft
from generator.grammar import Grammar, load_grammar
from generator.records import FILES, json_lines

Disturbance = Callable[[Draft, Random], None]

GRAMMARS = Path(__file__).parent / "grammars"


@dataclass(frozen=True)
class Corpus:
    """stem: file names are stem-001 and so on. disturbances: by number of the note, counted from 1 in each split."""

    name: str
    stem: str
    sizes: Dict[str, int]
    disturbances: Dict[int, Tuple[Disturbance, ...]]
    misspelt: float

    def grammar(self) -> Grammar:
        return load_grammar(GRAMMARS / f"{self.name}.grammar")

    def drafts(self, split: str, seed: Union[int, str]) -> Iterator[Tuple[str, Draft]]:
        """The notes of a split with their file names; every note has a generator of random numbers of its own.

        The last note of a split is about something else and has no mentions.
        """
        grammar = self.grammar()
        size = self.sizes[split]
        held_out = 0.0 if split == "train" else HELD_OUT_SHARE
        for number in range(1, size + 1):
            random = Random(f"{seed}/{self.name}/{split}/{number}")
            draft = derive(grammar, random, held_out=held_out, slot="note" if number < size else "blank")
            if self.misspelt:
                disturb.misspell(draft, random, self.misspelt)
            for disturbance in self.disturbances.get(number, ()):
                disturbance(draft, random)
            yield f"{self.stem}-{number:03}", draft

    def resized(self, notes: int) -> Corpus:
        """The same with so many notes, a tenth of them each to dev and test."""
        held_out = max(2, notes // 10)
        return replace(self, sizes={"train": notes - 2 * held_out, "dev": held_out, "test": held_out})

    def raw(self, count: int, seed: int) -> Iterator[Tuple[str, str]]:
        """Unannotated notes, which take all words and templates alike, held out or not."""
        grammar = self.grammar()
        for number in range(1, count + 1):
            random = Random(f"{seed}/{self.name}/raw/{number}")
            draft = derive(grammar, random, held_out=None)
            disturb.misspell(draft, random, self.misspelt)
            yield f"{self.stem}-{number:03}", draft.text


_EUROPEAN = {
    1: (disturb.run_together,),
    2: (disturb.carriage_returns,),
    3: (disturb.byte_order_mark,),
    4: (disturb.odd_spaces,),
    5: (disturb.odd_spaces, disturb.no_final_newline),
    6: (disturb.carriage_returns, disturb.byte_order_mark),
    7: (disturb.run_together, disturb.no_final_newline),
}
_CHINESE = {
    1: (disturb.wrap,),
    2: (disturb.wrap, disturb.carriage_returns),
    3: (disturb.byte_order_mark,),
    4: (disturb.odd_spaces,),
    5: (disturb.wrap, disturb.odd_spaces, disturb.no_final_newline),
    6: (disturb.wrap, disturb.carriage_returns, disturb.byte_order_mark),
    7: (disturb.odd_spaces,),
    **{number: (disturb.wrap,) for number in range(8, 40, 4)},
    **{number: (disturb.odd_spaces,) for number in range(9, 40, 4)},
}

CORPORA = (
    Corpus("cantemist", "nota", {"train": 60, "dev": 20, "test": 20}, _EUROPEAN, misspelt=0.012),
    Corpus("maccrobat", "case", {"train": 40, "dev": 12, "test": 12}, _EUROPEAN, misspelt=0.004),
    Corpus("diabetes", "bingli", {"train": 40, "dev": 12, "test": 12}, _CHINESE, misspelt=0.0),
    Corpus("coronary", "guanmai", {"train": 40, "dev": 12, "test": 12}, _CHINESE, misspelt=0.0),
)
# Written as JSON lines instead of BRAT.
RECORDS = Corpus(
    "ccks2019",
    "record",
    {"train": 60, "dev": 16, "test": 16},
    {number: (disturb.odd_spaces,) for number in range(3, 60, 5)},
    misspelt=0.0,
)
ALL = {corpus.name: corpus for corpus in (*CORPORA, RECORDS)}
RAW_CORPUS, RAW_LANGUAGE, RAW_NOTES = CORPORA[0], "es", 150


def write_sample(output: Path, seed: int) -> int:
    """Write all corpora below `output`/sample and return the number of notes."""
    written = 0
    for corpus in CORPORA:
        events = corpus.grammar().setting("events")
        for split in corpus.sizes:
            folder = output / "sample" / corpus.name / split
            folder.mkdir(parents=True, exist_ok=True)
            for name, draft in corpus.drafts(split, seed):
                _write_note(folder / name, draft, events)
                written += 1
    written += write_records(output / "sample" / RECORDS.name, seed)
    folder = output / "sample" / "raw" / RAW_LANGUAGE
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in RAW_CORPUS.raw(RAW_NOTES, seed):
        (folder / f"{name}.txt").write_bytes(text.encode("utf8"))
        written += 1
    return written


def _write_note(path: Path, draft: Draft, events: Tuple[str, ...]) -> None:
    """Write `path`.txt and `path`.ann."""
    path.with_name(f"{path.name}.txt").write_bytes(draft.text.encode("utf8"))
    path.with_name(f"{path.name}.ann").write_bytes(draft.standoff(events).encode("utf8"))


def write_large(output: Path, corpus: Corpus, notes: int, characters: int, seed: int) -> int:
    """Write a corpus with `notes` notes of at least `characters` characters as BRAT to `output`; how many it wrote.

    A long note is one made of short ones, the same mentions and all else of each.
    """
    sized = corpus.resized(notes)
    events = sized.grammar().setting("events")
    written = 0
    for split in sized.sizes:
        folder = output / split
        folder.mkdir(parents=True, exist_ok=True)
        # Endless, so that every note of the split can be filled up.
        drafts = (draft for number in count() for _, draft in sized.drafts(split, f"{seed}/{number}"))
        for number in range(1, sized.sizes[split] + 1):
            note = next(drafts)
            while len(note.text) < characters:
                note.append(next(drafts))
            _write_note(folder / f"{sized.stem}-{number:04}", note, events)
            written += 1
    return written


def write_records(folder: Path, seed: int) -> int:
    """Write the files of records and return the number of notes in them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, (split, first, last, windows) in FILES.items():
        drafts = [draft for _, draft in RECORDS.drafts(split, seed)][first - 1 : last]
        (folder / name).write_bytes(json_lines(drafts, windows=windows))
        written += len(drafts)
    return written
