"""Three ways to relations, trained on the same notes and scored by the same rule: look-up, tutorial and ours."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import typer
from spacy.language import Language
from spacy.util import load_config
from thinc.api import Config

from benchmarks.common import (
    BENCHMARKS,
    ROOT,
    digest,
    fingerprint,
    package_command,
    read_json,
    run_logged,
    show_f,
    table,
    write_json,
)
from benchmarks.corpus import DIABETES, MACCROBAT, Corpus, lay_out
from benchmarks.papers.run import set_value
from benchmarks.relations import tutorial as relations_tutorial
from benchmarks.relations.lookup import LookUp
from benchmarks.results import commit, interval
from spacy_clinical_ner.annotation import Task
from spacy_clinical_ner.annotation import annotate as annotate_task
from spacy_clinical_ner.annotation.local import Settings
from spacy_clinical_ner.brat.reader import create_brat_corpus
from spacy_clinical_ner.evaluation import evaluate_folders
from spacy_clinical_ner.pipelines import load_pipeline
from spacy_clinical_ner.tokenization import blank_pipeline

LOOKUP, TUTORIAL, OURS = "look-up", "tutorial", "relation_classifier"
TUNED, REFIT = "tutorial, tuned threshold", "relation_classifier, refit"
END_TO_END = "the same, end to end"
SYSTEMS = (LOOKUP, TUTORIAL, OURS, REFIT)
CONFIG = ROOT / "configs" / "maccrobat_relations.cfg"
WORK = BENCHMARKS / "work" / "relations"
CORPORA = {corpus.name: corpus for corpus in (MACCROBAT, DIABETES)}
# For diabetes: in the Chinese notes a token is a character, so that all is farther apart.
_MODEL = "components.relation_classifier.model."
_EDITS: Dict[str, Any] = {
    "components.relation_classifier.candidates.*.distance.max_distance": 150,
    f"{_MODEL}tok2vec.embed.width": 96,
    f"{_MODEL}tok2vec.embed.attrs": ["NORM", "SHAPE"],
    f"{_MODEL}tok2vec.embed.rows": [8000, 500],
    f"{_MODEL}tok2vec.embed.include_static_vectors": False,
    "corpora.train.max_length": 1000,
    "training.batcher.size": 3000,
    "training.patience": 0,
    "training.max_steps": 1800,
    "training.eval_frequency": 600,
}


def our_config(corpus: Corpus) -> Config:
    """What `relation_classifier` is trained by: CONFIG, for diabetes with other sizes."""
    config = load_config(CONFIG)
    config["nlp"]["lang"] = corpus.lang
    for part in config["corpora"].values():
        part["lenient"] = corpus.lenient
    for name, value in _EDITS.items() if corpus is DIABETES else ():
        set_value(config, name, value, CONFIG)
    return config


def score(gold: Path, predicted: Path) -> Dict[str, Any]:
    """Strict, directed micro scores of relations, with "per_type": {label: F} beside them; see `evaluation.scoring`."""
    relations = evaluate_folders(gold, predicted, relations=True)["relations"]["strict"]
    per_type = {label: scores["f"] for label, scores in relations["per_type"].items()}
    return {**relations["micro"], "per_type": per_type}


def annotate(nlp: Language, test: Path, output: Path) -> None:
    """Predictions for the test notes, whose entities are given."""
    shutil.rmtree(output, ignore_errors=True)
    annotate_task(Task("", str(test), str(output), settings=Settings(given_entities=True)), nlp)


def look_up(kind: Corpus, train: Path, test: Path, folder: Path) -> Dict[str, Any]:
    """The look-up takes all of the training notes: it has nothing to stop early or to tune."""
    nlp = blank_pipeline(kind.lang)
    table = LookUp()
    table.learn(example.reference for example in create_brat_corpus(train, lenient=kind.lenient)(nlp))
    Language.component("benchmarks_relation_lookup", func=table)
    nlp.add_pipe("benchmarks_relation_lookup")
    annotate(nlp, test, folder / "predictions")
    return {"scores": score(test, folder / "predictions"), "train_seconds": 0.0, "ceiling": None}


def train(system: str, config: Path, parts: Any, test: Path, folder: Path, seed: int, extra: Tuple[str, ...]) -> Any:
    """Train a pipeline, annotate the test notes and score them."""
    paths = ("--paths.train", parts.train, "--paths.dev", parts.dev)
    code = ("--code", Path(relations_tutorial.__file__))
    command = (sys.executable, "-m", "spacy", "train", config, "--output", folder / "model", *paths, *code)
    training = run_logged(f"{system}, seed {seed}", (*command, "--system.seed", seed, *extra), folder / "train.log")
    nlp = load_pipeline(str(folder / "model" / ("model-last" if system == TUTORIAL else "model-best")))
    result = annotate_and_score(nlp, test, folder)
    scores = result["scores"]
    tuned = None
    if system == TUTORIAL:
        tuned = scores
        nlp.get_pipe("relation_classifier").cfg["threshold"] = relations_tutorial.THRESHOLD  # type: ignore[attr-defined]
        annotate(nlp, test, folder / "predictions")
        scores = score(test, folder / "predictions")
    times = {"train_seconds": training.seconds, "train_peak_rss_mib": training.peak_rss_mib}
    return {**result, "scores": scores, "tuned": tuned, **times}


def refit(pipeline: Path, train_notes: Path, test: Path, folder: Path, seed: int) -> Dict[str, Any]:
    """Train the config of a pipeline once more on all of train/, with its threshold, and score the test notes."""
    command = package_command("refit", pipeline, train_notes, folder / "model", "--overwrite")
    training = run_logged(f"{REFIT}, seed {seed}", command, folder / "train.log")
    result = annotate_and_score(load_pipeline(str(folder / "model")), test, folder)
    return {**result, "train_seconds": training.seconds, "train_peak_rss_mib": training.peak_rss_mib}


def annotate_and_score(nlp: Language, test: Path, folder: Path) -> Dict[str, Any]:
    annotate(nlp, test, folder / "predictions")
    examples = create_brat_corpus(test, gold_tokens=True, gold_mentions=True)(nlp)
    ceiling = nlp.get_pipe("relation_classifier").ceiling(examples)  # type: ignore[attr-defined]
    return {"scores": score(test, folder / "predictions"), "ceiling": ceiling.to_json()}


def compare(
    corpus: Path,
    seeds: int,
    extra: Tuple[str, ...] = (),
    fresh: bool = False,
    entities: Optional[Path] = None,
    kind: Corpus = MACCROBAT,
) -> Dict[str, List[Any]]:
    """{system: [result by seed]}. Rows that an earlier run with the same settings finished are only read again.

    kind: which corpus it is. The tutorial is for MACCROBAT only.
    entities: a folder of notes with the entities that a tagger found; relations between those are scored end to end.
    """
    corpus = corpus.resolve()
    work = WORK / fingerprint(corpus)
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    parts = lay_out(kind, corpus, work)
    ours = our_config(kind)
    configs = {OURS: ours}
    if kind is MACCROBAT:
        configs[TUTORIAL] = relations_tutorial.tutorial_config(ours)
    settings = {
        LOOKUP: digest({"source": (BENCHMARKS / "relations" / "lookup.py").read_text(encoding="utf8")}),
        **{name: digest({"config": config.to_str(), "extra": extra}) for name, config in configs.items()},
    }
    settings[REFIT] = settings[OURS]
    systems = [system for system in SYSTEMS if system in settings]
    results: Dict[str, List[Any]] = {system: [] for system in systems}
    for seed in range(seeds):
        # The look-up has no seed, and the tutorial's model is too far below the others for its seeds to matter.
        for system in systems if seed == 0 else (OURS, REFIT):
            folder = work / folder_name(system, settings[system], seed)

            def run(system: str = system, folder: Path = folder, seed: int = seed) -> Dict[str, Any]:
                if system == LOOKUP:
                    return look_up(kind, corpus / "train", parts.test, folder)
                if system == REFIT:
                    stopped = work / folder_name(OURS, settings[OURS], seed) / "model" / "model-best"
                    return refit(stopped, corpus / "train", parts.test, folder, seed)
                config = folder / "config.cfg"
                config.parent.mkdir(parents=True, exist_ok=True)
                configs[system].to_disk(config)
                return train(system, config, parts, parts.test, folder, seed, extra)

            results[system].append(once(system, seed, folder, run))
    ordered: Dict[str, List[Any]] = {}
    for system in systems:
        ordered[system] = results[system]
        if system == TUTORIAL:
            ordered[TUNED] = [{**run, "scores": run["tuned"]} for run in results[TUTORIAL]]
    if entities is not None:
        ordered[END_TO_END] = []
        for seed, result in enumerate(results[REFIT]):
            folder = work / folder_name(REFIT, settings[REFIT], seed)
            annotate(load_pipeline(str(folder / "model")), entities, folder / "end-to-end")
            scores = score(parts.test, folder / "end-to-end")
            ordered[END_TO_END].append({**result, "scores": scores, "ceiling": None})
    return ordered


def folder_name(system: str, settings: str, seed: int) -> str:
    return f"{system.replace(', ', '-')}-{settings}-seed{seed}"


def once(system: str, seed: int, folder: Path, run: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """The stored result of a row, or that of running it now."""
    done = read_json(folder / "result.json")
    state = "finished before"
    if done is None:
        typer.echo(f"{system}, seed {seed}: running, files in {folder}")
        done = {"system": system, "seed": seed, "commit": commit(), **run()}
        write_json(folder / "result.json", done)
        state = f"done in {done['train_seconds'] / 60:.1f} min"
    typer.echo(f"{system}, seed {seed}: {state}, F {done['scores']['f']:.4f}")
    return done


def median_f(results: List[Mapping[str, Any]]) -> float:
    return statistics.median(result["scores"]["f"] for result in results)


def report(results: Mapping[str, List[Any]]) -> str:
    """A table for a person: every row, and F by label of the median ones."""
    rows: List[List[str]] = []
    labels = sorted({label for runs in results.values() for run in runs for label in run["scores"]["per_type"]})
    for system, runs in results.items():
        for result in runs:
            scores = result["scores"]
            recall = f"{result['ceiling']['recall']:.4f}" if result["ceiling"] else ""
            others = (f"{scores['p']:.4f}", f"{scores['r']:.4f}", recall, f"{result['train_seconds'] / 60:.1f}")
            rows.append([system, str(result["seed"]), show_f(scores), *others])
    header = ("system", "seed", "strict micro F [95% CI]", "P", "R", "candidate recall", "training, min")
    by_label = [[label] for label in labels]
    for row in by_label:
        for runs in results.values():
            values = [run["scores"]["per_type"].get(row[0], 0.0) for run in runs]
            row.append(f"{statistics.median(values):.3f}")
    return "\n\n".join([table(header, rows), table(("median F by label", *results), by_label)])


def figures(results: Mapping[str, List[Any]]) -> List[Dict[str, Any]]:
    """The rows to record."""
    rows = []
    for system, runs in results.items():
        row: Dict[str, Any] = {"name": system, "median_f": round(median_f(runs), 4)}
        row["by_seed"] = [interval(run["scores"]) for run in runs]
        if runs[0]["ceiling"]:
            row["candidate_recall"] = round(runs[0]["ceiling"]["recall"], 4)
            row["minutes"] = round(statistics.median(run["train_seconds"] for run in runs) / 60, 1)
        row["trained_at"] = ", ".join(dict.fromkeys(run["commit"] for run in runs))
        rows.append(row)
    return rows
