"""EDS-NLP at work, in its own environment: `eds.ner_crf` over `eds.transformer`, trained and run as its docs say.

Started by `benchmarks.tagger edsnlp`, which gives it everything; of this project it imports the pipe protocol alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict, List

import edsnlp
import edsnlp.pipes as eds
import torch
from edsnlp.training import ScheduledOptimizer, TrainingData, train

from benchmarks.rounds import count_words, note_files, peak_rss_mib, read_note, serve

GOLD, PREDICTED = "gold_spans", "predicted_spans"


def linear(peak: float, warmup: float) -> Dict[str, Any]:
    """EDS-NLP's schedule: from 0 up to `peak` in the first `warmup` (a share) of all steps, then down to 0."""
    return {"@schedules": "linear", "warmup_rate": warmup, "start_value": 0.0, "max_value": peak}


def run_training(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    nlp = edsnlp.blank("eds")
    nlp.add_pipe(
        eds.ner_crf(
            embedding=eds.transformer(model=str(args.encoder), window=args.window, stride=args.stride),
            mode="joint",
            target_span_getter=GOLD,
            span_setter=PREDICTED,
        ),
        name="ner",
    )
    documents = list(edsnlp.data.read_standoff(str(args.corpus), span_setter=GOLD))
    words = count_words(read_note(path) for path in note_files(args.corpus))
    tokens = sum(map(len, documents))
    steps_per_epoch = -(-len(documents) // args.batch_size)
    steps = args.epochs * steps_per_epoch
    optimizer = ScheduledOptimizer(
        optim=torch.optim.AdamW,
        module=nlp,
        total_steps=steps,
        groups={
            "ner[.]embedding": {"lr": linear(args.encoder_rate, args.warmup)},
            ".*": {"lr": linear(args.head_rate, args.warmup), "weight_decay": args.weight_decay},
        },
    )
    marks: List[Dict[str, float]] = []

    def mark(metrics: Dict[str, Any]) -> None:
        seen = metrics["per_pipe"]["ner"]["stats"]["ner_words"]
        marks.append(
            {
                "wall": time.perf_counter(),
                "cpu": time.process_time(),
                "words": seen * words / tokens,
                "loss": metrics["loss"],
            }
        )

    started = time.perf_counter()
    train(
        nlp=nlp,
        train_data=TrainingData(
            data=edsnlp.data.from_iterable(documents),
            batch_size=f"{args.batch_size} docs",
            shuffle="dataset",
            pipe_names=["ner"],
        ),
        max_steps=steps,
        validation_interval=steps_per_epoch,
        optimizer=optimizer,
        grad_max_norm=1.0,
        seed=args.seed,
        output_dir=args.output,
        save_model=False,
        logger=False,
        cpu=True,
        on_validation_callback=mark,
    )
    seconds = time.perf_counter() - started
    nlp.to_disk(args.output / "model")
    report = {
        "steps": steps,
        "seconds": seconds,
        "measured_words": sum(row["words"] for row in marks[1:]),
        "measured_seconds": marks[-1]["wall"] - marks[0]["wall"],
        "measured_cpu_seconds": marks[-1]["cpu"] - marks[0]["cpu"],
        "losses": [row["loss"] for row in marks],
        "peak_rss_mib": peak_rss_mib(),
        "versions": {"edsnlp": edsnlp.__version__, "torch": torch.__version__},
    }
    (args.output / "train.json").write_text(json.dumps(report, indent=2), encoding="utf8")


def run_inference(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    nlp = edsnlp.load(args.model)
    paths = list(note_files(args.notes))
    texts = [read_note(path) for path in paths]
    words = count_words(texts)

    def predict(mixed: bool) -> Any:
        # Unless it is told otherwise, EDS-NLP computes in bfloat16 where it can, on a CPU too.
        return nlp.pipe(texts).set_processing(batch_size=f"{args.batch_words} words", autocast=mixed)

    def timed_round(mixed: bool) -> Dict[str, float]:
        started = time.perf_counter()
        for _ in predict(mixed):
            pass
        return {"words": words, "seconds": time.perf_counter() - started}

    def write(output: str, mixed: bool) -> Dict[str, int]:
        predictions = {
            path.relative_to(args.notes).with_suffix("").as_posix(): [
                (span.label_, span.start_char, span.end_char) for span in doc.spans.get(PREDICTED, ())
            ]
            for path, doc in zip(paths, predict(mixed))
        }
        Path(output).write_text(json.dumps(predictions), encoding="utf8")
        return {"notes": len(predictions)}

    serve({"round": timed_round, "write": write})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    for name, kind in (
        ("corpus", Path),
        ("encoder", Path),
        ("output", Path),
        ("epochs", int),
        ("batch-size", int),
        ("encoder-rate", float),
        ("head-rate", float),
        ("weight-decay", float),
        ("warmup", float),
        ("window", int),
        ("stride", int),
        ("seed", int),
        ("threads", int),
    ):
        training.add_argument(f"--{name}", type=kind, required=True)
    training.set_defaults(run=run_training)
    inference = commands.add_parser("infer")
    for name, kind in (("model", Path), ("notes", Path), ("batch-words", int), ("threads", int)):
        inference.add_argument(f"--{name}", type=kind, required=True)
    inference.set_defaults(run=run_inference)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
