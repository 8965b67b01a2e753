"""How much memory a process holds after more and more notes through a transformer pipeline. Run as a worker, too:

python -m benchmarks.transformers.memory worker FOLDER NOTES   prints JSON lines {"notes", "rss_mib"}
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

from benchmarks.rounds import ROOT, threads_environment

# Notes of the second count may leave this much more memory in use than those of the first.
WITHIN = 0.05
_WORDS = "paciente carcinoma ductal tumor renal fiebre dolor control leve con sin de en la el y 8mg pT2N1 , .".split()  # noqa: SIM905


def resident_mib() -> float:
    """Memory that this process has resident now, MiB, with what the allocator could give back given back."""
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)  # glibc has it
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])) / 2**10


def notes(seed: int = 0) -> Iterator[str]:
    """Endless notes of 20 to 150 of always the same words (spaCy keeps every new word for ever), some with tables."""
    rng = random.Random(seed)
    while True:
        words = rng.choices(_WORDS, k=rng.randint(20, 150))
        gap = rng.choice([" ", " ", " ", " " * 40, "\n"])
        yield " ".join(words[:10]) + gap + " ".join(words[10:])


def make_pipeline(folder: Path) -> Any:
    """An untrained pipeline over a tiny BERT with random weights, made in `folder`."""
    from spacy.tokens import Span
    from spacy.training import Example
    from spacy.util import fix_random_seed
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from spacy_clinical_ner.tokenization import blank_pipeline

    fix_random_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*_WORDS, *"abcdefghijklmnopqrstuvwxz"])]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf8")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    nlp = blank_pipeline("es")
    model = {
        "@architectures": "spacy-clinical-ner.TransformerModel.v1",
        "name": str(folder),
        "max_batch_pieces": 2048,
        "get_spans": {"@span_getters": "spacy-clinical-ner.WordPieceWindows.v1", "window": 128, "overlap": 32},
    }
    nlp.add_pipe("transformer", config={"model": model})
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    tagger = {"@architectures": "spacy-clinical-ner.CrfTagger.v1", "tok2vec": listener}
    nlp.add_pipe("crf_ner", config={"model": tagger})
    nlp.add_pipe("trf_data_cleaner")
    doc = nlp.make_doc("carcinoma ductal")
    doc.set_ents([Span(doc, 0, 1, label="TUMOUR")])
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])
    return nlp


def work(folder: Path, counts: Sequence[int]) -> None:
    """Tag notes, keep every Doc of the last hundred as a caller might, and print the memory after each count."""
    nlp = make_pipeline(folder)
    kept: List[Any] = []
    stream = nlp.pipe(itertools.islice(notes(), max(counts)), batch_size=32)
    for number, doc in enumerate(stream, start=1):
        kept = [*kept[-99:], doc]
        if number in counts:
            print(json.dumps({"notes": number, "rss_mib": resident_mib()}), flush=True)


def measure_memory(folder: Path, counts: Sequence[int]) -> Dict[int, float]:
    """Resident memory in MiB after so many notes, of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.transformers.memory", "worker", str(folder), *map(str, counts)]
    done = subprocess.run(command, cwd=ROOT, env=threads_environment(1), stdout=subprocess.PIPE, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["notes"]: line["rss_mib"] for line in lines}


if __name__ == "__main__":
    work(Path(sys.argv[2]), [int(word) for word in sys.argv[3:]])
