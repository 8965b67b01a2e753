"""Word vectors from raw notes: floret, through spaCy's own vectors tooling.

floret keeps words and their character n-grams (Bojanowski et al. 2017, "Enriching Word Vectors with Subword
Information") in one hashed table (Svenstrup et al. 2017, "Hash Embeddings for Efficient Word Representations"), so
that misspelt and unseen clinical words get a vector too, and the table is small enough to travel inside a pipeline.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Union

from spacy.training.initialize import convert_vectors
from tqdm import tqdm

from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.files import check_name, read_text, replacing
from spacy_clinical_ner.pipelines import pipeline_or_blank
from spacy_clinical_ner.tokenization import HasTokenizer, blank_pipeline

PathLike = Union[str, Path]

# The token attribute by which spaCy looks a vector up -> the property that spells it.
SPELLINGS = {"ORTH": "text", "LOWER": "lower_", "NORM": "norm_"}
# Shortest and longest character n-gram, rows that are summed per word or n-gram, words of context on each side.
_FLORET = {"minn": 4, "maxn": 5, "hashCount": 2, "ws": 5}


@dataclass(frozen=True)
class FloretSettings:
    """What floret is trained with; the defaults suit some million words on one CPU core.

    dim: width of a vector. epochs: passes over the notes. min_count: rarer words train no vector of their own.
    buckets: rows of the hash table, which hold words and n-grams alike; size on disk = buckets * dim * 4 bytes.
    seed: of the order in which the notes are read; floret's Python interface takes no seed of its own.
    threads: with more than one, the result varies from run to run. floret also fills one tenth of its rows with random
    numbers per thread, so that with fewer than 10 the others start at zero: over millions of words they catch up (the
    leading 20 singular values come within 11%), in a small collection some dimensions stay nearly unused.
    """

    dim: int = 96
    epochs: int = 10
    min_count: int = 3
    buckets: int = 50_000
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True)
class VectorsSummary:
    """What went into a table of vectors and what came out.

    coverage: share (0 to 1) of the tokens whose word occurs at least `min_count` times, and so trained a vector of
    its own; the others get theirs from n-grams alone. size: bytes of the table on disk.
    """

    documents: int
    tokens: int
    words: int
    coverage: float
    rows: int
    dim: int
    size: int
    seconds_reading: float
    seconds_training: float

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


def find_notes(folders: Iterable[PathLike]) -> List[Path]:
    """The .txt files below the folders, sorted within each. Raises InputError for a folder without any."""
    notes: List[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(folder, None, "no such folder; give a folder of raw notes (.txt)")
        found = sorted(path for path in folder.rglob("*.txt") if path.is_file() and not path.name.startswith("."))
        if not found:
            raise InputError(folder, None, "no .txt file in this folder or below it")
        notes += found
    return notes


def read_note(path: Path) -> str:
    """The text of a note, without a byte order mark. Raises InputError if it is not UTF-8."""
    return read_text(check_name(path)).removeprefix("\ufeff")


def spell_lines(nlp: HasTokenizer, text: str, attr: str = "LOWER") -> Iterator[List[str]]:
    """Words of each line of `text` as the tokenizer cuts them and `attr` spells them; white space and blank lines go.

    A line is what floret takes for a context: words of different paragraphs are not each other's neighbours.
    """
    spelling = SPELLINGS[attr]
    line: List[str] = []
    for token in nlp.tokenizer(text):
        if not token.is_space:
            line.append(getattr(token, spelling))
        elif "\n" in token.text and line:
            yield line
            line = []
    if line:
        yield line


def train_vectors(
    folders: Sequence[PathLike],
    output: PathLike,
    lang: str,
    settings: FloretSettings = FloretSettings(),
    *,
    attr: str = "LOWER",
    progress: bool = False,
) -> VectorsSummary:
    """Train floret vectors on the notes below `folders` and save them at `output` as spaCy's `init vectors` does.

    output: a folder for `initialize.vectors` of a config; it appears whole or not at all. It holds no word of the
    notes, only the table.
    attr: token attribute that vectors are looked up by: ORTH, LOWER or NORM.
    Raises InputError for unreadable notes or too few words, ClinicalNerError if floret is missing or a setting or the
    language is unknown. With `settings.threads == 1` the same notes, settings and seed give the same bytes.
    """
    floret = _import_floret()
    if attr not in SPELLINGS:
        raise ClinicalNerError(f"attr must be one of {', '.join(SPELLINGS)}, not {attr}")
    notes = find_notes(folders)
    reading, saving = pipeline_or_blank(None, lang), blank_pipeline(lang)
    counts: Counter = Counter()
    with replacing(output) as temporary:
        started = time.perf_counter()
        random.Random(settings.seed).shuffle(notes)
        corpus = temporary.parent / "words.txt"
        with corpus.open("w", encoding="utf8") as file:
            for path in tqdm(notes, desc="Reading notes", unit="note", disable=not progress):
                for words in spell_lines(reading, read_note(path), attr):
                    counts.update(words)
                    file.write(" ".join(words) + "\n")
        tokens = sum(counts.values())
        frequent = [count for count in counts.values() if count >= settings.min_count]
        if not frequent:
            raise InputError(
                Path(folders[0]), None, f"no word occurs {settings.min_count} times; add notes or lower --min-count"
            )
        read = time.perf_counter()
        table = temporary.parent / "vectors.floret"
        _train(floret, corpus, settings, verbose=2 if progress else 0).save_floret_vectors(str(table))
        # A second pipeline is saved, not the one that read the notes: its vocabulary is full of patients' words.
        convert_vectors(saving, table, truncate=0, prune=-1, mode="floret", attr=attr)
        saving.to_disk(temporary)
        size = (temporary / "vocab" / "vectors").stat().st_size
        finished = time.perf_counter()
    return VectorsSummary(
        documents=len(notes),
        tokens=tokens,
        words=len(frequent),
        coverage=sum(frequent) / tokens,
        rows=settings.buckets,
        dim=settings.dim,
        size=size,
        seconds_reading=read - started,
        seconds_training=finished - read,
    )


def _import_floret() -> Any:
    try:
        import floret
    except ImportError:
        raise ClinicalNerError(
            "training vectors needs the package floret: pip install 'spacy-clinical-ner[vectors]'"
        ) from None
    return floret


def _train(floret: Any, corpus: Path, settings: FloretSettings, verbose: int) -> Any:
    return floret.train_unsupervised(
        str(corpus),
        model="skipgram",
        mode="floret",
        dim=settings.dim,
        epoch=settings.epochs,
        minCount=settings.min_count,
        bucket=settings.buckets,
        thread=settings.threads,
        verbose=verbose,
        **_FLORET,
    )
