"""What pre-training is worth: a tagger over an encoder of one's own, over its twin with random weights, and without."""

from __future__ import annotations

import hashlib
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import typer
from spacy.util import load_config

from benchmarks.common import WORK as TAGGER_WORK
from benchmarks.common import (
    digest,
    fingerprint,
    package_command,
    run_logged,
    score,
    show_f,
    show_interval,
    table,
)
from benchmarks.corpus import CANTEMIST, lay_out
from benchmarks.results import difference, interval
from benchmarks.tagger.compare import Plan, train_all
from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PACKAGES = ("spacy-clinical-ner", "spacy", "spacy-transformers", "transformers", "thinc", "torch")
WORK = TAGGER_WORK.parent / "pretrained"
CONFIG = CANTEMIST.config.with_name("cantemist_trf.cfg")
TRAINED, RANDOM = "pre-trained", "random weights"
SHAPE, WEIGHTS = ("config.json", "tokenizer.json"), "model.safetensors"


@app.command()
def pretrained(
    encoder: Path = typer.Option(..., help="Folder that `clinical-ner pretrain` wrote.", exists=True, file_okay=False),
    corpus: Path = typer.Option(..., help="Folder of CANTEMIST, as published.", exists=True, file_okay=False),
    seeds: int = typer.Option(1, min=1, help="Trainings of each, with seeds 0, 1, ...; the median counts."),
    against: Optional[Path] = typer.Option(
        None, help="Predictions for dev2/ of another tagger, such as that without a transformer, to compare with."
    ),
    max_steps: int = typer.Option(0, min=0, help="So many updates in place of the config's."),
    jobs: int = typer.Option(1, min=1, help="Trainings at a time."),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/results/."),
) -> None:
    """CANTEMIST, train/ to dev2/ (dev1/ stops the training): configs/cantemist_trf.cfg over the encoder and its twin.

    The twin has the same vocabulary and layers, with weights drawn anew. Strict micro F over characters against the
    original .ann, with a bootstrap interval over documents; differences are paired. What has finished is stored below
    benchmarks/work/ and not repeated.

    Example: python -m benchmarks.transformers.pretrained --encoder ENCODER --corpus ../shared/data/cantemist --record
    """
    outcome = compare(encoder.resolve(), corpus.resolve(), seeds, against, max_steps, jobs)
    typer.echo("\n" + report(outcome))
    if record:
        from benchmarks.results import record as write

        typer.echo(f"Recorded in {write('transformers pretrained', figures(outcome), PACKAGES)}")


def contents(folder: Path, names: Tuple[str, ...]) -> Dict[str, str]:
    """What tells two encoders apart: hashes of their files. Raises ClinicalNerError if one is missing."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ClinicalNerError(f"{folder / missing[0]}: no such file; give a folder that `clinical-ner pretrain` wrote")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def random_twin(encoder: Path, output: Path) -> Path:
    """The encoder with its tokenizer and config, and weights as they are drawn before any training."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    if output.is_dir():
        return output
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(encoder)).save_pretrained(output)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(output)
    return output


def compare(
    encoder: Path, corpus: Path, seeds: int, against: Optional[Path], max_steps: int, jobs: int
) -> Dict[str, Any]:
    """{"results": {system: [by seed]}, "differences": {what: [paired difference of the pre-trained one by seed]}}."""
    from spacy_clinical_ner.training.over_encoder import put_over_encoder

    work = WORK / f"{CANTEMIST.name}-{fingerprint(corpus)}"
    parts = lay_out(CANTEMIST, corpus, work)
    paths: Tuple[str, ...] = ()
    for name, folder in (("train", parts.train), ("dev", parts.dev)):
        converted = work / f"{name}.spacy"
        run_logged(
            f"convert {name}", package_command("convert", folder, converted, "--lang", "es"), work / "convert.log"
        )
        paths = (*paths, f"--paths.{name}", str(converted))
    plans = {}
    kept = contents(encoder, SHAPE)
    twin = random_twin(encoder, work / f"random-{digest(kept)}")
    for system, folder, what in ((RANDOM, twin, kept), (TRAINED, encoder, contents(encoder, (*SHAPE, WEIGHTS)))):
        config = load_config(CONFIG, interpolate=False)
        put_over_encoder(config, str(folder))
        if max_steps:
            config["training"]["max_steps"] = max_steps
        made = work / f"{folder.name}.cfg"
        config.to_disk(made, interpolate=False)
        config["paths"]["encoder"] = None
        settings = digest({"config": config.to_str(interpolate=False), "encoder": what})
        plans[system] = Plan(system, made, paths, settings)
    results = train_all(plans, seeds, parts.test, work, jobs)
    others = {RANDOM: [Path(result["predictions"]) for result in results[RANDOM]]}
    if against is not None:
        others[str(against.name)] = [against] * seeds
    differences = {
        name: [
            score(parts.test, Path(ours["predictions"]), compare=theirs)["comparison"]
            for ours, theirs in zip(results[TRAINED], folders)
        ]
        for name, folders in others.items()
    }
    other = score(parts.test, against) if against is not None else None
    return {"results": results, "differences": differences, "against": other}


def report(outcome: Dict[str, Any]) -> str:
    """Tables for a person: every training, and the paired differences."""
    rows = [
        [system, str(result["seed"]), show_f(result["scores"]), f"{result['train_seconds'] / 60:.1f}"]
        for system, results in outcome["results"].items()
        for result in results
    ]
    if outcome["against"]:
        rows.append(["the other tagger", "", show_f(outcome["against"]), ""])
    differences = [
        [name, str(seed), f"{d['difference']:+.4f}", show_interval(d)]
        for name, by_seed in outcome["differences"].items()
        for seed, d in enumerate(by_seed)
    ]
    return "\n\n".join(
        [
            table(("encoder", "seed", "strict micro F [95% CI]", "training, min"), rows),
            table((f"{TRAINED} against", "seed", "difference", "paired bootstrap, 95%"), differences),
        ]
    )


def figures(outcome: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The rows to record."""
    rows: List[Dict[str, Any]] = []
    for system, results in outcome["results"].items():
        median = statistics.median(result["scores"]["f"] for result in results)
        minutes = statistics.median(result["train_seconds"] for result in results) / 60
        by_seed = [interval(result["scores"]) for result in results]
        rows.append({"name": system, "median_f": round(median, 4), "by_seed": by_seed, "minutes": round(minutes, 1)})
    if outcome["against"]:
        rows.append({"name": "the other tagger", "f": interval(outcome["against"])})
    for name, found in outcome["differences"].items():
        rows.append({"name": f"paired difference to {name}", "differences": [difference(one) for one in found]})
    return rows


def main() -> None:
    """Run the command line; what a person can put right ends with one line and status 2."""
    try:
        app()
    except ClinicalNerError as error:
        print(f"benchmarks.transformers.pretrained: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
