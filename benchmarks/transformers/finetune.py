"""Fine-tuning speed: `crf_ner` and spaCy's `ner` over the same encoder, of which the same layers are frozen."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Mapping

from spacy.training.initialize import init_nlp
from spacy.util import load_config

from benchmarks.common import digest, fingerprint, show_spread, table
from benchmarks.corpus import MACCROBAT, lay_out
from benchmarks.rounds import median_ratio
from benchmarks.tagger.compare import _convert
from benchmarks.tagger.speed import measure
from benchmarks.transformers.compare import WORK, write_ner_config
from spacy_clinical_ner.transformers.loading import load_encoder_config

OURS, SPACY = "crf_ner", "spaCy ner"


def finetune(encoder: str, corpus: Path, frozen: int, updates: int, rounds: int) -> Dict[str, Dict[str, Any]]:
    """{system: {"rates": words per second by round, "peak_rss_mib"}} of updates from untrained heads, in turns.

    frozen: layers, from the first on; -1 for two thirds of them. The embeddings are frozen with them.
    """
    if frozen < 0:
        frozen = load_encoder_config(encoder)["num_hidden_layers"] * 2 // 3
    corpus = corpus.resolve()
    work = WORK / f"finetune-{fingerprint(corpus)}-{digest({'encoder': encoder, 'frozen': frozen})}"
    parts = lay_out(MACCROBAT, corpus, work)
    config = load_config(MACCROBAT.config.with_name("maccrobat_minilm.cfg"))
    config["components"]["transformer"]["model"].update(
        freeze_embeddings=frozen > 0, freeze_layers=frozen, mixed_precision=False
    )
    # spaCy's `ner` refuses mentions that begin or end with white space, so both read them trimmed.
    for name, notes in (("train", parts.train), ("dev", parts.dev)):
        _convert(f"convert {name}", notes, work / f"{name}.spacy", "--lang", "en", "--trim-whitespace")
        config["paths"][name] = str(work / f"{name}.spacy")
    config["paths"]["encoder"] = encoder
    config.to_disk(work / "crf_ner.cfg")
    configs = {OURS: work / "crf_ner.cfg", SPACY: write_ner_config(work / "crf_ner.cfg", work / "ner.cfg")}
    models = {}
    for system, path in configs.items():
        models[system] = work / path.stem
        if not models[system].is_dir():
            init_nlp(load_config(path)).to_disk(models[system])
    return measure(models, "train", updates, 1, rounds)


def rows(found: Mapping[str, Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """The rows to record; ratios are to spaCy's `ner`, round by round."""
    return [
        {
            "name": system,
            "words_per_second": round(median(figures["rates"])),
            "ratio": round(median_ratio(figures["rates"], found[SPACY]["rates"]), 2),
            "peak_mib": round(figures["peak_rss_mib"]),
        }
        for system, figures in found.items()
    ]


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        [row["name"], show_spread(found[row["name"]]["rates"]), f"{row['ratio']:.2f} x", f"{row['peak_mib']:,}"]
        for row in rows(found)
    ]
    return table(("system", "training words/s", "ratio", "peak RSS, MiB"), lines)
