"""`crf_ner` against spaCy's own `ner`: trained on the same notes, scored by the same command, in the same run."""

from __future__ import annotations

import shutil
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import typer

from benchmarks.common import (
    WORK,
    annotate,
    digest,
    fingerprint,
    package_command,
    read_json,
    run_logged,
    score,
    show_f,
    show_interval,
    table,
    write_json,
)
from benchmarks.corpus import Corpus, Parts, lay_out, make_vectors
from benchmarks.results import commit

OURS, SPACY = "crf_ner", "spaCy ner"
SYSTEMS = (SPACY, OURS)


@dataclass(frozen=True)
class Plan:
    """What is needed to train one system, but for the seed: `overrides` go to `spacy train`."""

    system: str
    config: Path
    overrides: Tuple[str, ...]
    settings: str

    def folder(self, work: Path, seed: int) -> Path:
        return work / f"{self.system.replace(' ', '_')}-{self.settings}-seed{seed}"


def plan_spacy(corpus: Corpus, parts: Parts, work: Path, extra: Tuple[str, ...]) -> Plan:
    """spaCy's `ner` as `spacy init config --optimize efficiency` sets it up, with spaCy's own tokenizer.

    It fails with E024 on mentions that begin or end with white space, so that is trimmed; a mention that ends inside a
    token takes the whole token, which teaches more than leaving it out.
    """
    import spacy

    base = work / "spacy-data"
    config = base / "config.cfg"
    init = ("init", "config", config, "--lang", corpus.lang, "--pipeline", "ner", "--optimize", "efficiency", "--force")
    run_logged("spacy init config", (sys.executable, "-m", "spacy", *init), base / "init.log")
    spacy.blank(corpus.lang).to_disk(base / "blank")
    options = ("--pipeline", base / "blank", "--misaligned", "expand", "--trim-whitespace")
    for part, folder in (("train", parts.train), ("dev", parts.dev)):
        _convert(f"{SPACY}: convert {part}", folder, base / f"{part}.spacy", *options)
    overrides = ("--paths.train", str(base / "train.spacy"), "--paths.dev", str(base / "dev.spacy"), *extra)
    return Plan(SPACY, config, overrides, _settings(config, extra))


def plan_ours(corpus: Corpus, parts: Parts, work: Path, vectors: Optional[Path], extra: Tuple[str, ...]) -> Plan:
    """`crf_ner` as the config in configs/ sets it up; word vectors are trained first if it wants some and has none."""
    from spacy_clinical_ner.training.workflow import uses_vectors

    base = work / "our-data"
    for part, folder in (("train", parts.train), ("dev", parts.dev)):
        _convert(f"{OURS}: convert {part}", folder, base / f"{part}.spacy", "--lang", corpus.lang)
    overrides = ["--paths.train", str(base / "train.spacy"), "--paths.dev", str(base / "dev.spacy")]
    if uses_vectors(corpus.config):
        if vectors is None:
            vectors = make_vectors(parts, corpus.lang, base)
        overrides += ["--paths.vectors", str(vectors.resolve())]
    return Plan(OURS, corpus.config, (*overrides, *extra), _settings(corpus.config, (*overrides[4:], *extra)))


def _settings(config: Path, extra: Tuple[str, ...]) -> str:
    return digest({"config": config.read_text(encoding="utf8"), "extra": extra})


def _convert(name: str, folder: Path, output: Path, *options: Any) -> None:
    run_logged(name, package_command("convert", folder, output, *options), output.with_suffix(".log"))


def train_and_score(plan: Plan, seed: int, test: Path, work: Path) -> Dict[str, Any]:
    """Train one system with one seed, annotate the test notes and score them; a finished one is only read again."""
    folder = plan.folder(work, seed)
    done = read_json(folder / "result.json")
    name = f"{plan.system}, seed {seed}"
    if done is not None:
        typer.echo(f"{name}: finished before, F {done['scores']['f']:.4f}")
        return done
    typer.echo(f"{name}: training, log in {folder / 'train.log'}")
    command = (sys.executable, "-m", "spacy", "train", plan.config, "--output", folder / "model", *plan.overrides)
    training = run_logged(name, (*command, "--system.seed", seed), folder / "train.log")
    model = folder / "model" / "model-best"
    annotation = annotate(name, model, test, folder)
    meta = read_json(model / "meta.json") or {}
    result = {
        "system": plan.system,
        "seed": seed,
        "model": str(model),
        "predictions": str(folder / "predictions"),
        "scores": score(test, folder / "predictions"),
        "dev_token_f": meta.get("performance", {}).get("ents_f"),
        "train_seconds": training.seconds,
        "train_peak_rss_mib": training.peak_rss_mib,
        "annotate_seconds": annotation.seconds,
        "annotate_peak_rss_mib": annotation.peak_rss_mib,
        "commit": commit(),
    }
    write_json(folder / "result.json", result)
    typer.echo(f"{name}: F {result['scores']['f']:.4f} after {training.seconds / 60:.1f} min")
    return result


def train_all(
    plans: Mapping[str, Plan], seeds: int, test: Path, work: Path, jobs: int = 1
) -> Dict[str, List[Dict[str, Any]]]:
    """{system: [result by seed]} of `train_and_score`, systems in turns, `jobs` trainings at a time."""
    runs = [(system, seed) for seed in range(seeds) for system in plans]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        done = list(pool.map(lambda run: train_and_score(plans[run[0]], run[1], test, work), runs))
    return {system: [result for result in done if result["system"] == system] for system in plans}


def compare(
    corpus: Corpus,
    folder: Path,
    seeds: int,
    *,
    vectors: Optional[Path] = None,
    jobs: int = 1,
    extra: Tuple[str, ...] = (),
    fresh: bool = False,
) -> Dict[str, Any]:
    """Train both systems with seeds 0 to `seeds` - 1, in turns, and return all results.

    vectors: for ours, if its config wants some. jobs: trainings at a time. extra: words for `spacy train`, for both.
    fresh: forget what has been finished before.

    Returns {"results": {system: [result by seed]}, "pairs": [strict micro scores of ours by seed, with the paired
    "comparison" to spaCy's], "medians": {system: F}}.
    """
    folder = folder.resolve()
    work = WORK / f"{corpus.name}-{fingerprint(folder)}"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    parts = lay_out(corpus, folder, work)
    plans = {
        SPACY: plan_spacy(corpus, parts, work, extra),
        OURS: plan_ours(corpus, parts, work, vectors, extra),
    }
    results = train_all(plans, seeds, parts.test, work, jobs)
    pairs = [
        score(parts.test, Path(ours["predictions"]), compare=Path(theirs["predictions"]))
        for ours, theirs in zip(results[OURS], results[SPACY])
    ]
    medians = {system: statistics.median(r["scores"]["f"] for r in results[system]) for system in SYSTEMS}
    return {"corpus": corpus.name, "results": results, "pairs": pairs, "medians": medians}


def report(outcome: Dict[str, Any]) -> str:
    """Tables for a person: every training, the paired differences and the medians."""
    rows: List[List[str]] = []
    for system in SYSTEMS:
        for result in outcome["results"][system]:
            s = result["scores"]
            rows.append(
                [
                    system,
                    str(result["seed"]),
                    show_f(s),
                    f"{s['p']:.4f}",
                    f"{s['r']:.4f}",
                    f"{result['train_seconds'] / 60:.1f}",
                    f"{result['train_peak_rss_mib']:,.0f}",
                ]
            )
    header = ("system", "seed", "strict micro F [95% CI]", "P", "R", "training, min", "training peak RSS, MiB")
    differences = [
        [str(seed), f"{d['difference']:+.4f}", show_interval(d), f"{d['p_value']:.4f}"]
        for seed, d in enumerate(pair["comparison"] for pair in outcome["pairs"])
    ]
    medians = outcome["medians"]
    return "\n\n".join(
        [
            table(header, rows),
            table(("seed", f"{OURS} - {SPACY}", "paired bootstrap, 95%", "p"), differences),
            f"median F: {OURS} {medians[OURS]:.4f}, {SPACY} {medians[SPACY]:.4f}, "
            f"difference {medians[OURS] - medians[SPACY]:+.4f}",
        ]
    )


def median_models(outcome: Dict[str, Any]) -> Dict[str, str]:
    """For each system the pipeline whose F is the median (the lower of the two middle ones for an even number)."""
    chosen = {}
    for system, results in outcome["results"].items():
        ordered = sorted(results, key=lambda result: result["scores"]["f"])
        chosen[system] = ordered[(len(ordered) - 1) // 2]["model"]
    return chosen
