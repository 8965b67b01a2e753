"""The site: docstrings become sections, every room has its page, nothing is fetched from another host."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "spacy_clinical_ner"

pytest.importorskip("mkdocs", reason="needs the extra `docs`, which make docs installs")
griffe = pytest.importorskip("griffe", reason="needs the extra `docs`")


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


to_google = load("docstrings").to_google


def test_parameters_and_errors_become_sections():
    prose = (
        "Train vectors.\n\nThe table: no word is in it. More text.\n\n"
        "output: a folder; it appears whole\nor not at all. dim, epochs: numbers above 0 (note: whole ones).\n"
        "Raises InputError for unreadable notes or too few words, ClinicalNerError if floret is missing, and "
        "ValueError for e.g. dim 0. With one thread the bytes are the same."
    )
    assert to_google(prose, ["output", "dim", "epochs"]) == (
        "Train vectors.\n\nThe table: no word is in it. More text.\n\nWith one thread the bytes are the same.\n\n"
        "Args:\n    output: a folder; it appears whole or not at all.\n"
        "    dim: numbers above 0 (note: whole ones).\n    epochs: numbers above 0 (note: whole ones).\n\n"
        "Raises:\n    InputError: for unreadable notes or too few words.\n"
        "    ClinicalNerError: if floret is missing.\n    ValueError: for e.g. dim 0."
    )


def test_shapes_stay_with_their_names_and_attributes_have_a_section():
    prose = "Pieces of notes.\n\nids: (windows, length) long; mask: the same shape. Returns two tensors of width 3."
    assert to_google(prose, [], ["ids", "mask"]) == (
        "Pieces of notes.\n\nAttributes:\n    ids: (windows, length) long\n    mask: the same shape.\n\n"
        "Returns:\n    two tensors of width 3."
    )


@pytest.mark.parametrize("prose", ["Returns the sum of x.", "A rule: x goes first.\n\nSo: it stays prose, y: too."])
def test_prose_stays_prose(prose):
    assert to_google(prose, ["x"]) == prose


def words(text):
    return sorted(set(re.findall(r"\w+", text)) - {"Raises", "Returns", "Args", "Attributes", "see", "above"})


def test_no_word_of_any_docstring_is_lost():
    names = load("docstrings")._names
    seen, left = 0, []

    def walk(parent):
        nonlocal seen
        for member in parent.members.values():
            if member.is_alias:
                continue
            if member.docstring and (member.is_function or member.is_class):
                before = member.docstring.value
                after = to_google(before, *names(member))
                seen += "\nArgs:\n" in after or "\nRaises:\n" in after
                assert set(words(before)) - set(words(after)) <= {"and"}, member.path
                if re.search(r"Raises [A-Z]", after):
                    left.append(member.path)
            if member.is_module or member.is_class:
                walk(member)

    walk(griffe.load(PACKAGE.name, search_paths=[str(ROOT)], resolve_aliases=False))
    assert seen > 100 and not left


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_room_has_a_page_with_its_modules(site):
    for init in PACKAGE.glob("*/__init__.py"):
        page = (site / "api" / init.parent.name / "index.html").read_text(encoding="utf8")
        for module in init.parent.glob("[a-z]*.py"):
            assert f"{PACKAGE.name}.{init.parent.name}.{module.stem}" in page
    crf = (site / "api" / "layers" / "index.html").read_text(encoding="utf8")
    section = crf.partition('id="spacy_clinical_ner.layers.crf.module.LinearChainCRF.span_log_probability"')[2]
    section = section.split("doc-heading")[1]
    for sign in ("Parameters:", "temperature", "Guo et al. 2017", "Raises:", "without constraints"):
        assert sign in section


def test_nothing_is_fetched_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 20
    for page in pages:
        text = page.read_text(encoding="utf8")
        assert not re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=.?(?:https?:)?//", text), page
        assert not re.findall(r"<link[^>]*\shref=.?(?:https?:)?//", text), page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf8")), sheet
