"""How long `clinical-ner report` takes over many notes, how large its page is, and whether a browser scrolls it."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import typer

from benchmarks.browser import browser, missing
from benchmarks.common import BENCHMARKS, Finished, run_app, run_logged, table
from benchmarks.rounds import ROOT
from spacy_clinical_ner.brat import BratDocument, Entity, Note, list_notes, read_document, write_document
from spacy_clinical_ner.errors import ClinicalNerError

WORK = BENCHMARKS / "work" / "report"
PACKAGES = ("spacy-clinical-ner", "jinja2", "matplotlib", "selenium")
NAMES = {False: "figures alone", True: "with the text of all notes"}
# What a person does with a wheel or a finger: a third of a screen in each frame, through the page and on.
_SCROLL = """
const [frames, done] = arguments, times = [];
let last = performance.now();
const step = (now) => {
  times.push(now - last); last = now;
  const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 1;
  end ? scrollTo(0, 0) : scrollBy(0, innerHeight / 3);
  times.length < frames ? requestAnimationFrame(step) : done(times.slice(1));
};
requestAnimationFrame(step);
"""
_LOADED = "const [entry] = performance.getEntriesByType('navigation'); return entry.loadEventEnd;"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def report(
    notes: int = typer.Option(2000, min=8, help="Notes of about 60 mentions, of the bundled generator's MACCROBAT."),
    frames: int = typer.Option(300, min=10, help="Frames to scroll."),
    fresh: bool = typer.Option(False, "--fresh", help="Make the notes again."),
    record: bool = typer.Option(False, "--record", help="Add a line to benchmarks/results/report.jsonl."),
) -> None:
    """Measure reports of many invented notes, without and with their text: time, memory, size, and scrolling.

    Example: python -m benchmarks.report --record
    """
    needed = missing()
    if needed:
        raise ClinicalNerError(f"benchmarks.report needs what is not installed: {needed}")
    folder = WORK / str(notes)
    if fresh or not (folder / "predictions").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        make_notes(folder, notes)
    mentions = sum(1 for path in (folder / "gold").glob("*.ann") for line in path.open("rb") if line.startswith(b"T"))
    rows = [measure(folder, show_text, frames) for show_text in (False, True)]
    header = list(rows[0])
    typer.echo(table(header, [[row[key] for key in header] for row in rows]))
    if record:
        from benchmarks.results import record as write

        setting = f"{notes:,} invented notes with {mentions:,} gold mentions, {frames} frames of 1280 x 900 pixels"
        typer.echo(f"Recorded in {write('report', rows, PACKAGES, setting=setting)}")


def make_notes(folder: Path, notes: int) -> None:
    """FOLDER/gold, by the bundled generator, and FOLDER/predictions, the same with every kind of error."""
    made = folder / "made"
    # A tenth each goes to dev/ and test/.
    command = [sys.executable, "assets/generate.py", "--corpus", "maccrobat", "--notes", str(round(notes / 0.8) + 2)]
    subprocess.run([*command, "--output", str(made)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (folder / "gold").mkdir()
    for number, path in enumerate(list_notes(made / "train")[:notes]):
        for each in (path, path.with_suffix(".ann")):
            shutil.copy(each, folder / "gold" / each.name)
        document = disturbed(read_document(path), random.Random(number))
        write_document(document, folder / "predictions" / path.name)
    shutil.rmtree(made)


def disturbed(document: BratDocument, rng: random.Random) -> BratDocument:
    """The mentions of a note as a system might find them: some not, some shorter, some with another label."""
    labels = sorted({entity.label for entity in document.entities})
    found: List[Entity] = []
    for entity in document.entities:
        (start, end), chance = entity.fragments[0], rng.random()
        if chance < 0.08 or entity.is_discontinuous:
            continue
        if chance < 0.16:
            entity = replace(entity, label=rng.choice(labels))
        elif chance < 0.24 and " " in document.text[start:end].strip():
            end = document.text.index(" ", start + 1)
            entity = replace(entity, fragments=((start, end),), text=document.text[start:end])
        found.append(entity)
    ids = {entity.id for entity in found}
    relations = [r for r in document.relations if {target for _, target in r.arguments} <= ids and rng.random() > 0.2]
    notes = [
        Note(f"#{number}", "AnnotatorNotes", entity.id, f"confidence={rng.uniform(0.4, 1.0):.3f}")
        for number, entity in enumerate(found, 1)
    ]
    return BratDocument(document.name, document.text, found, relations, notes=notes)


def measure(folder: Path, show_text: bool, frames: int) -> Dict[str, Any]:
    """Write one report and scroll it: a row to record."""
    page = folder / f"report-{'text' if show_text else 'figures'}.html"
    command: List[Any] = [sys.executable, "-m", "spacy_clinical_ner", "report", folder / "gold", folder / "predictions"]
    command += ["--output", page, *(["--show-text"] if show_text else [])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished: Finished = run_logged(NAMES[show_text], command, folder / "report.log")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with browser() as driver:
        driver.get(page.as_uri())
        loaded = driver.execute_script(_LOADED) / 1000
        driver.set_script_timeout(300)
        times = sorted(driver.execute_async_script(_SCROLL, frames))
    return {
        "name": NAMES[show_text],
        "seconds": round(finished.seconds, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mib": round(finished.peak_rss_mib),
        "megabytes": round(page.stat().st_size / 1e6, 2),
        "load_seconds": round(loaded, 2),
        "frame_ms": round(times[len(times) // 2], 1),
        "slow_frame_ms": round(times[int(len(times) * 0.95)], 1),
        "slowest_frame_ms": round(times[-1], 1),
    }


if __name__ == "__main__":
    run_app(app, "report")
