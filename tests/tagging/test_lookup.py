"""The look-up baseline: its patterns, and the pipeline that `spacy assemble` makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
import typer
from spacy.cli.assemble import assemble_cli
from spacy.tokens import DocBin
from spacy.util import load_config, load_model_from_config, registry
from typer.testing import CliRunner

from spacy_clinical_ner.brat import read_folder, to_doc
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.tagging.lookup import training_mentions
from spacy_clinical_ner.tokenization import ClinicalTokenizer, blank_pipeline

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/cantemist_lookup.cfg"
SAMPLE = ROOT / "assets/sample"


def write_note(folder: Path, name: str, text: str, mentions: list[tuple[str, str]]) -> None:
    folder.mkdir(exist_ok=True)
    lines, at = [], 0
    for number, (label, mention) in enumerate(mentions, start=1):
        at = text.index(mention, at)
        column = mention.replace("\n", " ")
        lines.append(f"T{number}\t{label} {at} {at + len(mention)}\t{column}\n")
    (folder / f"{name}.txt").write_text(text, encoding="utf8")
    (folder / f"{name}.ann").write_text("".join(lines), encoding="utf8")


def convert(folder: Path, path: Path) -> Path:
    nlp = blank_pipeline("es")
    DocBin(docs=[to_doc(nlp, document) for document in read_folder(folder)], store_user_data=True).to_disk(path)
    return path


def test_every_mention_once_with_its_most_frequent_label(tmp_path: Path) -> None:
    text = "Tumor. tumor. TUMOR. Linfoma\ndifuso. linfoma difuso. carcinoma in situ"
    mentions = [("A", "Tumor"), ("B", "tumor"), ("B", "TUMOR"), ("B", "Linfoma\ndifuso"), ("A", "linfoma difuso")]
    # Nested: doc.ents could show the longer one only.
    mentions += [("A", "carcinoma in situ"), ("A", "in situ")]
    write_note(tmp_path / "c", "n", text, mentions[:6])
    ann = (tmp_path / "c" / "n.ann").read_text(encoding="utf8")
    start = text.index("in situ")
    (tmp_path / "c" / "n.ann").write_text(f"{ann}T7\tA {start} {start + 7}\tin situ\n", encoding="utf8")
    expected = {"Tumor": "B", "Linfoma difuso": "A", "carcinoma in situ": "A", "in situ": "A"}
    assert {p["pattern"]: p["label"] for p in training_mentions(tmp_path / "c")} == expected
    assert training_mentions(convert(tmp_path / "c", tmp_path / "c.spacy")) == training_mentions(tmp_path / "c")


@pytest.mark.parametrize("corpus", ["cantemist", "diabetes"])
def test_patterns_are_the_mentions_of_the_sample(corpus: str) -> None:
    found = {pattern["pattern"].lower() for pattern in training_mentions(SAMPLE / corpus / "train")}
    documents = list(read_folder(SAMPLE / corpus / "train"))
    plain = {e.text.lower() for d in documents for e in d.entities if not e.is_discontinuous and len(e.fragments) == 1}
    assert {" ".join(text.split()) for text in plain} <= found
    assert len(found) == len(training_mentions(SAMPLE / corpus / "train"))


@pytest.mark.parametrize("as_docbin", [False, True])
def test_assembled_pipeline_finds_training_mentions_longest_first(tmp_path: Path, as_docbin: bool) -> None:
    write_note(tmp_path / "c", "n", "Carcinoma ductal. Ductal. Metástasis.", [("M", "Carcinoma ductal")])
    write_note(tmp_path / "c", "o", "carcinoma", [("M", "carcinoma")])
    path = convert(tmp_path / "c", tmp_path / "c.spacy") if as_docbin else tmp_path / "c"
    app = typer.Typer()
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(assemble_cli)
    output = tmp_path / "pipeline"
    result = CliRunner().invoke(app, [str(CONFIG), str(output), "--paths.train", str(path)])
    assert result.exit_code == 0, result.output
    nlp = spacy.load(output)
    assert isinstance(nlp.tokenizer, ClinicalTokenizer)
    doc = nlp("CARCINOMA DUCTAL, un carcinoma. Carcinomas no, ductal no; pcarcinoma no.")
    assert [(e.text, e.label_) for e in doc.ents] == [("CARCINOMA DUCTAL", "M"), ("carcinoma", "M")]
    assert not nlp("").ents


def test_corpus_without_mentions_is_named(tmp_path: Path) -> None:
    write_note(tmp_path / "c", "n", "Nada.", [])
    with pytest.raises(InputError, match="no mention to look up"):
        training_mentions(tmp_path / "c")


def test_config_is_complete() -> None:
    """What is not in the file is filled in by spaCy, and the name resolves through the entry point."""
    config = load_config(CONFIG, overrides={"paths.train": str(SAMPLE / "cantemist/train")})
    nlp = load_model_from_config(config, auto_fill=True)
    assert nlp.lang == "es"
    assert nlp.pipe_names == ["entity_ruler"]
    assert registry.misc.get("spacy-clinical-ner.TrainingMentions.v1") is training_mentions
