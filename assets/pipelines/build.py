"""Build es_cantemist_ner, the pipeline that people load: from the published CANTEMIST and a pre-trained encoder.

    python assets/pipelines/build.py CANTEMIST ENCODER

CANTEMIST: its folder, with train/, dev1/, dev2/ and background/. ENCODER: a folder or name on the Hugging Face hub of a
multilingual encoder, intfloat/multilingual-e5-small for the wheel beside this file.

1. The encoder is cut to the word pieces of the notes; word vectors are trained on background/ and train/.
2. A teacher over both is trained on train/, and goes on for a while on all of train/ and dev1/.
3. A student, a fast tagger without an encoder, learns what the teacher thinks of notes of background/ and the
   annotations of train/ and dev1/. It is scored and calibrated on dev2/: those are the figures of the card.
4. It is the pipeline in the wheel; with --with-dev2 that is another student, which learns dev2/ too, with the
   temperature of the first one.

The test set of CANTEMIST is never read. Every step leaves its output in --work and is left out where that is there
already, so a build that was stopped goes on. Some two hours on one core: the sum of its steps, timed one by one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import spacy
import srsly
import typer
from thinc.api import Config

from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.pipelines import save_pipeline
from spacy_clinical_ner.project.layout import PreparedCorpus
from spacy_clinical_ner.project.package import build_wheel
from spacy_clinical_ner.training.refit import copy_tuned

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs"
VERSION = "0.1.0"
PARTS = ("train", "dev1", "dev2", "background")
LICENSE = "MIT for the code; the weights were trained on CANTEMIST (CC BY 4.0): cite it"
CARD = """Tumour morphology mentions (`MORFOLOGIA_NEOPLASIA`) in Spanish oncology notes, with calibrated confidence.

**Trained on** CANTEMIST (A. Miranda-Escalada, E. Farré, M. Krallinger: Named entity recognition, concept normalization
and clinical coding: overview of the CANTEMIST track for cancer text mining in Spanish, IberLEF 2020; Zenodo 3978041,
CC BY 4.0): the {notes:,} annotated notes of {parts}, and {raw:,} notes of background/, on which a pipeline over
a multilingual encoder (E5-small, MIT) was its teacher. The test set was never read.

**Figures**, on dev2/, by this recipe without dev2/: strict F {f:.4f} (95 % interval {low:.3f} to
{high:.3f}), precision {p:.4f}, recall {r:.4f}; expected calibration error {ece:.3f}, fitted on the same notes.
{speed:,.0f} tokens a second of CPU time on one core (`nlp.pipe`), {size:.1f} MB on the disk. Everything below is the
report of these predictions.

**Not for** decisions about patients without a person who reads the note; other languages, other kinds of notes, or
anything else than tumour morphology. It was never measured on notes of other hospitals, nor on notes with errors of
character recognition. Case reports are better written than most notes.
"""


def main(
    cantemist: Path = typer.Argument(..., help="Folder of CANTEMIST with train/, dev1/, dev2/ and background/."),
    encoder: str = typer.Argument(..., help="Folder of a multilingual encoder, or its name on the Hugging Face hub."),
    work: Path = typer.Option(Path("training/es_cantemist_ner"), help="Folder of all steps; a stopped build goes on."),
    raw_notes: int = typer.Option(600, min=10, help="Notes of background/ that the teacher teaches."),
    with_dev2: bool = typer.Option(False, "--with-dev2", help="Train once more, on dev2/ too, for the wheel."),
    seed: int = typer.Option(0, help="Seed of all trainings."),
) -> None:
    """Build es_cantemist_ner into assets/pipelines: hours on one core; a stopped build goes on."""
    work.mkdir(parents=True, exist_ok=True)
    train, dev1, dev2, background = (cantemist / part for part in PARTS)
    raw = sample(background, work / "raw", raw_notes)
    step(work / "encoder", "trim", encoder, work / "encoder", *texts(train, dev1), "--lang", "es", "--lang", "en")
    step(work / "vectors", "vectors", background, work / "vectors", "--also", train, "--lang", "es", "--buckets", 30000)
    teacher = train_teacher(work, train, dev1, seed)
    student = distil(work / "student", teacher, raw, work, [train, dev1], seed)
    calibrated, figures = work / "calibrated", work / "calibration.json"
    step(calibrated, "calibrate", student, dev2, calibrated, "--report", figures)
    step(work / "predictions", "annotate", calibrated, dev2, work / "predictions", "--confidence")
    step(work / "metrics.json", "evaluate", dev2, work / "predictions", "--output", work / "metrics.json")
    step(work / "report.md", "report", dev2, work / "predictions", "--output", work / "report.md", "--format", "md")
    final, annotated = calibrated, [train, dev1]
    if with_dev2:
        annotated.append(dev2)
        again = distil(work / "student-all", teacher, raw, work, annotated, seed)
        final = with_temperature(again, calibrated, work / "final")
    corpus = PreparedCorpus(
        corpus="CANTEMIST",
        sample=False,
        documents={"train": sum(len(list(part.glob("*.txt"))) for part in annotated), "raw": raw_notes},
        origin={"train": " and ".join(f"{part.name}/" for part in annotated), "test": "dev2/"},
        remarks=["scores are those of the same recipe trained without dev2/"] if with_dev2 else [],
    )
    wheel = package(work, final, corpus, dev2)
    for old in HERE.glob("es_cantemist_ner-*.whl"):
        old.unlink()
    shutil.copyfile(wheel, HERE / wheel.name)
    print(f"{HERE / wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")


def step(output: Path, *words: Any) -> None:
    """Run `clinical-ner WORDS`, unless its output is there already."""
    run_step(output, "spacy_clinical_ner", *words)


def run_step(output: Path, module: str, *words: Any) -> None:
    if output.exists():
        print(f"{output} is there already")
        return
    print(f"{output} ...", flush=True)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", module, *map(str, words)], check=True)
    print(f"{output}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def texts(*folders: Path) -> List[Any]:
    return [word for folder in folders for word in ("--texts", folder)]


def sample(background: Path, folder: Path, count: int) -> Path:
    """`count` notes of background/, evenly spread over the names."""
    if not folder.exists():
        notes = sorted(background.glob("*.txt"))
        with replacing(folder) as temporary:
            temporary.mkdir()
            for number in range(min(count, len(notes))):
                note = notes[number * len(notes) // min(count, len(notes))]
                shutil.copyfile(note, temporary / note.name)
    return folder


def train_teacher(work: Path, train: Path, dev1: Path, seed: int) -> Path:
    """Trained on train/, all pieces with mentions and few others; then on all pieces of train/ and dev1/."""
    first, second = work / "teacher", work / "teacher-open"
    paths = ["--paths.encoder", work / "encoder", "--paths.vectors", work / "vectors", "--system.seed", seed]
    config = CONFIGS / "cantemist_pretrained.cfg"
    run_step(first, "spacy", "train", config, "-o", first, "--paths.train", train, "--paths.dev", dev1, *paths)
    going_on = Config().from_disk(config, interpolate=False)
    going_on["components"] = {
        name: {"source": str((first / "model-last").resolve())} for name in going_on["nlp"]["pipeline"]
    }
    going_on["corpora"]["train"].update({"path": [str(train), str(dev1)], "empty_share": 1.0})
    going_on["training"].update({"max_steps": 700, "eval_frequency": 700})
    going_on["training"]["optimizer"]["learn_rate"].update({"initial_rate": 0.0006, "warmup_steps": 50})
    going_on["initialize"] = {"vectors": "${paths.vectors}"}
    going_on.to_disk(work / "teacher-open.cfg", interpolate=False)
    names = ["--paths.train", train, "--paths.dev", dev1]
    run_step(second, "spacy", "train", work / "teacher-open.cfg", "-o", second, *names, *paths)
    return second / "model-last"


def distil(output: Path, teacher: Path, raw: Path, work: Path, gold: List[Path], seed: int) -> Path:
    annotated = [word for folder in gold for word in ("--gold", folder)]
    learning = ["--epochs", 3, "--gold-passes", 2, "--temperature", 1, "--seed", seed]
    given = ["--config", CONFIGS / "es_cantemist_ner.cfg", "--vectors", work / "vectors"]
    step(output, "distill", teacher, raw, output, *given, *annotated, *learning)
    return output


def with_temperature(pipeline: Path, calibrated: Path, output: Path) -> Path:
    """The pipeline with the temperature that was fitted for the one that dev2/ was kept from."""
    if not output.exists():
        nlp = spacy.load(pipeline)
        copy_tuned(spacy.load(calibrated).get_pipe("crf_ner"), nlp.get_pipe("crf_ner"))
        with replacing(output) as temporary:
            save_pipeline(nlp, temporary)
    return output


def package(work: Path, final: Path, corpus: PreparedCorpus, dev2: Path) -> Path:
    """The wheel, with its card."""
    (work / "corpus").mkdir(exist_ok=True)
    srsly.write_json(work / "corpus" / "corpus.json", corpus.to_dict())
    micro = json.loads((work / "metrics.json").read_text())["entities"]["strict"]["micro"]
    calibration = json.loads((work / "calibration.json").read_text())
    figures: Dict[str, Any] = {
        "notes": corpus.documents["train"],
        "parts": corpus.origin["train"],
        "raw": corpus.documents["raw"],
        "p": micro["p"], "r": micro["r"], "f": micro["f"], "low": micro["ci_low"], "high": micro["ci_high"],
        "ece": calibration["curves"]["dev, after"]["ece"],
        "speed": tokens_per_second(final, dev2),
        "size": sum(path.stat().st_size for path in final.rglob("*") if path.is_file()) / 1e6,
    }  # fmt: skip
    card = work / "card.md"
    card.write_text(CARD.format(**figures) + "\n" + (work / "report.md").read_text(encoding="utf8"), encoding="utf8")
    return build_wheel(
        final,
        work / "corpus",
        work / "metrics.json",
        work / "packages",
        name="cantemist_ner",
        version=VERSION,
        license_name=LICENSE,
        card=card,
    )


def tokens_per_second(pipeline: Path, notes: Path) -> float:
    nlp = spacy.load(pipeline)
    read = [path.read_text(encoding="utf8") for path in sorted(notes.glob("*.txt"))[:100]]
    list(nlp.pipe(read[:5]))
    began = time.process_time()
    tokens = sum(len(doc) for doc in nlp.pipe(read))
    return tokens / (time.process_time() - began)


if __name__ == "__main__":
    typer.run(main)
