"""The pictures of docs/report.md and docs/service.md, of the invented sample corpus: python -m docs.screenshots

Trains two small taggers and a relation classifier on assets/sample/maccrobat (some minutes; what is there already is
not trained again), writes reports on its test notes, serves a pipeline of both, and takes pictures of them in
headless Chromium.
"""

from __future__ import annotations

import io
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

import spacy

from benchmarks.browser import browser, missing, resize, scheme
from benchmarks.common import BENCHMARKS, ROOT, run_logged
from benchmarks.serving import served
from spacy_clinical_ner.files import replacing

SAMPLE, WORK, IMAGES = ROOT / "assets/sample/maccrobat", BENCHMARKS / "work/screenshots", ROOT / "docs/images"
STEPS = ["--training.max_steps", "150", "--training.eval_frequency", "25"]
NOTE = "case-001.txt"  # of the invented sample: what the service is shown with
TAGGERS: Dict[str, List[str]] = {"crf": [], "softmax": ["--components.crf_ner.model.decoder", "softmax"]}


class Picture(NamedTuple):
    """A window on a page. at: the id that stands at its top; "" for the top of the page."""

    name: str
    page: str
    width: int
    height: int
    mode: str
    at: str = ""


PICTURES = (
    Picture("report-1280-light", "figures", 1280, 860, "light"),
    Picture("report-1280-dark", "figures", 1280, 900, "dark", "errors"),
    Picture("report-390-light", "figures", 390, 800, "light"),
    Picture("report-390-dark", "figures", 390, 800, "dark", "confidence"),
    Picture("report-text-1280-light", "text", 1280, 560, "light", "relation"),
    Picture("report-text-390-dark", "text", 390, 800, "dark", "text"),
    Picture("service-1280-light", "service", 1280, 1060, "light", "served"),
    Picture("service-390-dark", "service", 390, 800, "dark", "served"),
)


def run(name: str, *words: Any) -> None:
    """Run a module of Python with its log in WORK."""
    print(f"{name} ...", flush=True)
    run_logged(name, [sys.executable, "-m", *words], WORK / f"{name}.log")


def train(name: str, config: str, *edits: str) -> Path:
    """The best pipeline of a short training on the sample."""
    folder = WORK / name
    if not (folder / "model-best").is_dir():
        paths = ["--paths.train", SAMPLE / "train", "--paths.dev", SAMPLE / "dev", "--output", folder]
        run(name, "spacy", "train", f"configs/{config}.cfg", *paths, *STEPS, *edits)
    return folder / "model-best"


def make_pages() -> Dict[str, Path]:
    """The report of two systems, and one of the first with the text of its notes."""
    relations = train("relations", "maccrobat_relations")
    predictions = []
    for name, edits in TAGGERS.items():
        found, related = WORK / f"found-{name}", WORK / f"related-{name}"
        options = ("spacy_clinical_ner", "annotate", "--overwrite")
        run(f"find-{name}", *options, train(name, "maccrobat", *edits), SAMPLE / "test", found, "--confidence")
        run(f"relate-{name}", *options, relations, found, related, "--given-entities")
        predictions.append(related)
    common = ["spacy_clinical_ner", "report", SAMPLE / "test", *predictions, "--name", "crf", "--name", "softmax"]
    common += ["--train", SAMPLE / "train", "--pipeline", relations, "--title", "MACCROBAT, invented sample"]
    pages = {"figures": WORK / "figures.html", "text": WORK / "text.html"}
    run("report-figures", *common, "--training", WORK / "crf", "--output", pages["figures"])
    run("report-text", *common, "--show-text", "--output", pages["text"])
    return pages


@contextmanager
def service() -> Iterator[str]:
    """The address of a service that finds entities and relations."""
    nlp = spacy.load(train("crf", "maccrobat"))
    # Between the entities that are found, and not between those that were given.
    found = {"components.relation_classifier.spans_key": None}
    relations = spacy.load(train("relations", "maccrobat_relations"), config=found)
    nlp.add_pipe("relation_classifier", source=relations)
    nlp.meta["name"] = "maccrobat_sample"
    nlp.to_disk(WORK / "both")
    with served(WORK / "both", WORK / "service.log") as server:
        yield server.address


def annotate(driver: Any, picture: Picture) -> None:
    """Annotate a note on the page of the service, and follow a relation."""
    note = (SAMPLE / "test" / NOTE).read_text(encoding="utf8")
    driver.execute_script(
        "document.getElementById('note').value = arguments[0]; document.getElementById('form').requestSubmit()", note
    )
    found = "return document.querySelectorAll('#relations tbody tr').length"
    while not driver.execute_script(found):
        time.sleep(0.2)
    place = 0 if picture.width > 500 else 480
    driver.execute_script("document.querySelector('#relations tbody a').click(); scrollTo(0, arguments[0])", place)


def take(driver: Any, picture: Picture, page: str) -> bytes:
    """A picture as PNG."""
    scheme(driver, picture.mode)
    resize(driver, picture.width, picture.height, touch=picture.width < 500)
    driver.get(page)
    if picture.at == "served":
        annotate(driver, picture)
    elif picture.at == "relation":
        driver.execute_script(
            "const row = [...document.querySelectorAll('li[data-tail]:not([data-kind])')][2];"
            "row.closest('details').open = true; row.querySelector('a').click(); scrollBy(0, 60)"
        )
    elif picture.at:
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView(); scrollBy(0, 30)", picture.at)
    return bytes(driver.get_screenshot_as_png())


def main() -> int:
    """Make the pages and their pictures."""
    from PIL import Image

    needed = missing()
    if needed:
        print(f"docs.screenshots: not installed: {needed}", file=sys.stderr)
        return 2
    pages = {name: path.as_uri() for name, path in make_pages().items()}
    with browser() as driver, service() as pages["service"]:
        for picture in PICTURES:
            image = Image.open(io.BytesIO(take(driver, picture, pages[picture.page]))).convert("RGB").quantize(48)
            with replacing(IMAGES / f"{picture.name}.png") as temporary:
                image.save(temporary, format="png", optimize=True)
            print(IMAGES / f"{picture.name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
