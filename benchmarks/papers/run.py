"""Train, score and store the rows of a table; a row that is finished is only read again."""

from __future__ import annotations

import re
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import typer
from spacy.util import load_config
from thinc.api import Config

from benchmarks.common import (
    BENCHMARKS,
    annotate,
    digest,
    fingerprint,
    read_json,
    run_logged,
    score,
    score_relations,
    write_json,
)
from benchmarks.corpus import Corpus, Parts, lay_out, make_vectors
from benchmarks.papers.tables import Row, Table, expand
from benchmarks.papers.tokens import token_scores
from benchmarks.results import commit
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.project.layout import find_records, prepare_corpus
from spacy_clinical_ner.training.over_encoder import put_over_encoder
from spacy_clinical_ner.training.workflow import uses_vectors

WORK = BENCHMARKS / "work" / "papers"
# Han characters have no prefixes and suffixes; other languages get the features of configs/maccrobat.cfg.
_WORD_FEATURES = {"width": 160, "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"], "rows": [10000, 1000, 5000, 2500]}


@dataclass(frozen=True)
class Setting:
    """What all rows of a run share. steps: None for the table's own; then trainings may stop early."""

    parts: Parts
    work: Path
    lang: str
    vectors: Optional[Path] = None
    seed: int = 0
    steps: Optional[int] = None
    gpu_id: int = -1


Trainer = Callable[[str, Path, Setting, Path], Dict[str, Any]]


def find_parts(name: str, lang: str, folder: Path) -> Tuple[Parts, Path]:
    """Parts of a corpus, and the folder for all that is made from it.

    dev1/ and dev2/: stop early by the first, score the second. dev/ and test/ the same. dev/ alone is scored, and a
    tenth of train/ stops the training, as in `benchmarks.tagger maccrobat`. Anything else (records of CCKS-2019 as
    JSON lines, one folder of notes) is laid out as the project's workflows do. Raises InputError for what is no corpus.
    """
    folder = folder.resolve()
    records, _ = find_records(folder)
    sizes = {str(path): path.stat().st_size for paths in records.values() for path in paths}
    work = WORK / f"{folder.name}-{digest(sizes) if sizes else fingerprint(folder)}"
    has = {part for part in ("train", "dev", "dev1", "dev2", "test") if any((folder / part).rglob("*.ann"))}
    if {"train", "dev1", "dev2"} <= has:
        return lay_out(Corpus(name, lang, "dev1", "dev2"), folder, work), work
    if {"train", "dev", "test"} <= has:
        return lay_out(Corpus(name, lang, "dev", "test"), folder, work), work
    if {"train", "dev"} <= has:
        return lay_out(Corpus(name, lang, None, "dev"), folder, work), work
    prepared = work / "prepared"
    if not (prepared / "corpus.json").is_file():
        for remark in prepare_corpus(folder, prepared, name=folder.name).remarks:
            typer.echo(remark)
    return lay_out(Corpus(name, lang, "dev", "test"), prepared, work), work


def row_config(row: Row, table: Table, setting: Setting) -> Config:
    """The row's config with its edits and the table's budget, as yet without paths.

    Raises ClinicalNerError for an edit of a section that the config lacks.
    """
    config = load_config(row.config, interpolate=False)
    edits: Dict[str, Any] = {**row.edits, "nlp.lang": setting.lang}
    if row.over:
        put_over_encoder(config, row.edits["paths.encoder"])
    tagger = "crf_ner" in config["components"]
    if setting.lang != "zh" and table.lang == "zh" and tagger and not (row.needs_encoder or row.over):
        edits.update({f"components.crf_ner.model.tok2vec.embed.{key}": value for key, value in _WORD_FEATURES.items()})
    if "training" in config:
        steps = setting.steps or row.steps or table.steps
        # To stop early takes many looks at the development notes, which cost as much as dozens of updates each.
        evaluations = 1 if setting.steps else 10 if steps >= 100 else 2
        edits.update(
            {
                "system.seed": setting.seed,
                "system.gpu_allocator": "pytorch" if setting.gpu_id >= 0 else None,
                "training.max_steps": steps,
                "training.eval_frequency": max(1, steps // evaluations),
                "training.patience": 0 if setting.steps else steps // 2,
                "training.logger": {"@loggers": "clinical-benchmarks.EpochTimes.v1", "path": None},
            }
        )
    for name, value in edits.items():
        set_value(config, name, value, row.config)
    return config


def set_value(config: Config, name: str, value: Any, source: Path) -> None:
    """Set config[a][b][c] for the name a.b.c, where the section a.b must be there."""
    *sections, last = name.split(".")
    place: Any = config
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise ClinicalNerError(f"{source} has no section [{'.'.join(sections)}]")
    place[last] = value


def set_paths(config: Config, parts: Parts, folder: Path, vectors: Optional[Path]) -> None:
    """Name the corpus, the file for the times and, if any, the word vectors."""
    config["paths"]["train"] = str(parts.train)
    if "training" in config:
        config["paths"]["dev"] = str(parts.dev)
        config["training"]["logger"]["path"] = str(folder / "times.json")
    if vectors is not None:
        config["paths"]["vectors"] = str(vectors.resolve())


def settings_of(row: Row, config: Config, setting: Setting) -> str:
    """Changes with all that a row's figures depend on, but for the corpus, which the folder's name tells, and code."""
    vectors = str(setting.vectors) if setting.vectors is not None and uses_vectors(row.config) else None
    return digest({"config": config.to_str(interpolate=False), "vectors": vectors, "gpu": setting.gpu_id >= 0})


def train_row(name: str, config_path: Path, setting: Setting, folder: Path) -> Dict[str, Any]:
    """Train (or, where there is nothing to train, assemble) the pipeline of folder/config.cfg.

    Returns {"model", "train_seconds", "train_peak_rss_mib", "epochs": `epoch_figures` or None}.
    """
    config = load_config(config_path, interpolate=False)
    trained = "training" in config
    vectors = None
    if uses_vectors(config_path):
        vectors = setting.vectors or make_vectors(setting.parts, setting.lang, setting.work)
    set_paths(config, setting.parts, folder, vectors)
    config.to_disk(folder / "train.cfg", interpolate=False)
    model = folder / "model"
    command: List[Any] = [sys.executable, "-m", "spacy"]
    if trained:
        command += ["train", folder / "train.cfg", "--output", model, "--gpu-id", setting.gpu_id]
        command += ["--code", BENCHMARKS / "registry.py"]
    else:
        command += ["assemble", folder / "train.cfg", model]
    finished = run_logged(name, command, folder / "train.log")
    times = read_json(folder / "times.json") if trained else None
    # With a budget for all, the weights after the last update, even if those before the first happened to score higher.
    kept = "model-last" if setting.steps else "model-best"
    return {
        "model": str(model / kept if trained else model),
        "train_seconds": finished.seconds,
        "train_peak_rss_mib": finished.peak_rss_mib,
        "epochs": epoch_figures(times) if times else None,
    }


def epoch_figures(times: Mapping[str, Any]) -> Dict[str, float]:
    """What `EpochTimes` noted, as {"steps", "epochs", "words", "seconds", "cpu_seconds"}, the last two of one epoch.

    An epoch takes its words times the median time of a word over all updates but the first, which also sets things up:
    other people's work on the machine moves a median less than a mean.
    """
    steps: Sequence[Sequence[float]] = times["steps"]
    words = times["words_in_epoch"]
    counted = [step for step in (steps[1:] or steps) if step[0]]
    seconds, cpu = (statistics.median(step[kind] / step[0] for step in counted) * words for kind in (1, 2))
    trained = sum(step[0] for step in steps)
    return {"steps": len(steps), "epochs": trained / words, "words": words, "seconds": seconds, "cpu_seconds": cpu}


def finish_row(row: Row, table: Table, setting: Setting, trainer: Trainer, *, fresh: bool, run: bool) -> Optional[Dict]:
    """The result of a row, trained now if it was not before; None if it was not and `run` says to leave it."""
    config = row_config(row, table, setting)
    folder = setting.work / "rows" / f"{row.config.stem}-{settings_of(row, config, setting)}"
    name = f"{table.name}, {row.name}"
    done = read_json(folder / "result.json")
    if done is not None and not (fresh and run):
        typer.echo(f"{name}: finished before, F {done['scores']['f']:.4f}")
    elif not run:
        return None
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        typer.echo(f"{name}: training, log in {folder / 'train.log'}")
        config.to_disk(folder / "config.cfg", interpolate=False)
        training = trainer(name, folder / "config.cfg", setting, folder)
        annotation = annotate(name, Path(training["model"]), setting.parts.test, folder)
        done = {
            **training,
            "annotate_seconds": annotation.seconds,
            "scores": score(setting.parts.test, folder / "predictions"),
            "commit": commit(),
        }
        write_json(folder / "result.json", done)
        typer.echo(f"{name}: F {done['scores']['f']:.4f} after {training['train_seconds'] / 60:.1f} min")
    if table.relations and "relations" not in done:
        done["relations"] = _relations(name, config, setting, folder, done)
        write_json(folder / "result.json", done)
    if table.tokens and "tokens" not in done:
        done["tokens"] = token_scores(setting.parts.test, folder / "predictions")
        write_json(folder / "result.json", done)
    return done


def _relations(name: str, config: Config, setting: Setting, folder: Path, done: Mapping[str, Any]) -> Dict[str, Any]:
    """{"entities": whether they are found, "gold", "end_to_end": scores of relations, None for what is not found}."""
    component = config["components"]["joint_extractor"]
    entities, relations = (component.get(f"{task}_weight", 1.0) > 0 for task in ("entity", "relation"))
    found: Dict[str, Any] = {"entities": entities, "gold": None, "end_to_end": None}
    if relations:
        annotate(name, Path(done["model"]), setting.parts.test, folder, given_entities=True)
        found["gold"] = score_relations(setting.parts.test, folder / "given")
        if entities:
            found["end_to_end"] = score_relations(setting.parts.test, folder / "predictions")
    return found


def run_table(
    table: Table,
    setting: Setting,
    encoders: Sequence[str],
    *,
    only: Sequence[str] = (),
    fresh: bool = False,
    trainer: Trainer = train_row,
) -> Dict[str, Any]:
    """All rows of a table; those that fail do not stop the others.

    only: names of rows to train; the others are shown if they are finished. fresh: train again what is finished.
    Returns {"table", "lang", "seed", "steps", "early_stopping", "rows": [{"name", "paper", "result" or None}],
    "skipped": {name: why}}. Raises ClinicalNerError for a name in `only` that is no row.
    """
    rows, skipped = expand(table, encoders)
    wanted = {name.casefold() for name in only}
    unknown = wanted - {row.name.casefold() for row in rows}
    if unknown:
        names = ", ".join(f"'{row.name}'" for row in rows)
        raise ClinicalNerError(f"--only: no row '{min(unknown)}' in {table.name}; its rows are {names}")
    results = []
    for row in rows:
        run = not wanted or row.name.casefold() in wanted
        try:
            result = finish_row(row, table, setting, trainer, fresh=fresh, run=run)
        except ClinicalNerError as error:
            typer.echo(f"{table.name}, {row.name}: {error}", err=True)
            skipped[row.name], result = f"failed: {error}", None
        else:
            if result is None:
                skipped[row.name] = "not run yet (--only)"
        paper = {"p": row.paper.p, "r": row.paper.r, "f": row.paper.f}
        relations = {"f": row.paper_relations.f}
        results.append({"name": row.name, "paper": paper, "paper_relations": relations, "result": result})
    return {
        "table": table,
        "lang": setting.lang,
        "seed": setting.seed,
        "steps": setting.steps or table.steps,
        "early_stopping": setting.steps is None,
        "corpus": re.sub("-[0-9a-f]{8}$", "", setting.work.name),
        "test": setting.parts.test.name,
        "rows": results,
        "skipped": skipped,
    }
