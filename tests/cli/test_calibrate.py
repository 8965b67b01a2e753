import pytest
import spacy
import srsly

from spacy_clinical_ner import cli
from spacy_clinical_ner.brat import from_doc, write_document
from tests.tagging.pipelines import crf_pipeline, ents, make_docs, make_examples, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained pipeline and BRAT notes on which it errs: a third of their mentions are taken away."""
    root = tmp_path_factory.mktemp("calibrate")
    nlp = crf_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp, 12)), steps=60)
    nlp.to_disk(root / "pipeline")
    for part, seed in (("dev", 8), ("test", 9)):
        for number, doc in enumerate(make_docs(nlp, 20, seed=seed)):
            note = nlp.make_doc(doc.text)
            spans = [note.char_span(s.start_char, s.end_char, s.label_) for i, s in enumerate(doc.ents) if i % 3]
            note.set_ents([span for span in spans if span is not None])
            write_document(from_doc(note), root / part / f"{number}.txt")
    return root


def run(monkeypatch, *args):
    monkeypatch.setattr("sys.argv", ["clinical-ner", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0


def test_calibrates_and_reports(folder, monkeypatch, tmp_path, capsys):
    out, report = tmp_path / "out", tmp_path / "figures.json"
    args = ["calibrate", folder / "pipeline", folder / "dev", out, "--test", folder / "test", "--report", report]
    assert run(monkeypatch, *args, "--plot", tmp_path / "plot.png") == 0
    figures = srsly.read_json(report)
    assert figures["temperature"] > 1
    curves = figures["curves"]
    assert curves["dev, after"]["ece"] < curves["dev, before"]["ece"]
    assert curves["test, after"]["log_loss"] < curves["test, before"]["log_loss"]
    assert f"{curves['test, after']['ece']:.4f}" in capsys.readouterr().out
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    before, after = spacy.load(folder / "pipeline"), spacy.load(out)
    assert after.get_pipe("crf_ner").temperature == pytest.approx(figures["temperature"])
    text = "paciente con carcinoma ductal y tos"
    assert ents(before(text)) == ents(after(text)) != []

    assert run(monkeypatch, *args) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(monkeypatch, *args, "--overwrite") == 0


@pytest.mark.parametrize(
    "pipeline, dev, extra, reason",
    [
        ("nowhere", "dev", [], "nowhere"),
        ("pipeline", "nowhere", [], "nowhere"),
        ("pipeline", "dev", ["--component", "ner"], "no component 'ner'"),
    ],
)
def test_bad_input_ends_with_one_line(folder, monkeypatch, tmp_path, capsys, pipeline, dev, extra, reason):
    args = ["calibrate", folder / pipeline, folder / dev, tmp_path / "out", *extra]
    assert run(monkeypatch, *args) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert reason in error[-1] and "Traceback" not in "".join(error)
    assert not (tmp_path / "out").exists()
