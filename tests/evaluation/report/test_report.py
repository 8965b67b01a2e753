"""The report over folders: equal to `evaluate`, without a character of a note, and whole as a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import srsly
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from spacy_clinical_ner import cli
from spacy_clinical_ner.brat import BratDocument, Entity, Note, RelationLine, read_folder, write_document
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.evaluation import evaluate_folders
from spacy_clinical_ner.evaluation.report import collect, render
from spacy_clinical_ner.evaluation.report.annotated_text import annotated
from spacy_clinical_ner.evaluation.report.comparison import holm
from spacy_clinical_ner.evaluation.report.training import parse_console, read_training
from spacy_clinical_ner.evaluation.statistics import corpus_report
from spacy_clinical_ner.tokenization import blank_pipeline

SENTINEL = "Zzyzxa"
TEXT = f"{SENTINEL} fever\nand {SENTINEL} rash after {SENTINEL} aspirin <b>.\n"


def entity(number: int, label: str, word: str) -> Entity:
    start = TEXT.index(word)
    return Entity(f"T{number}", label, ((start, start + len(word)),), word)


FEVER = entity(1, "Sign", "fever")
RASH = entity(2, "Sign", "rash")
ASPIRIN = entity(3, "Drug", "aspirin")


@pytest.fixture()
def folders(tmp_path):
    def note(folder: str, name: str, entities: list, relations: list = (), notes: list = ()) -> None:
        document = BratDocument(name, TEXT, list(entities), list(relations), notes=list(notes))
        write_document(document, tmp_path / folder / f"{name}.txt")

    caused = RelationLine("R1", "caused_by", (("Arg1", "T2"), ("Arg2", "T3")))
    turned = RelationLine("R1", "caused_by", (("Arg1", "T3"), ("Arg2", "T2")))
    sure = [Note(f"#{i}", "AnnotatorNotes", f"T{i}", f"confidence={value}") for i, value in ((1, 0.9), (2, 0.25))]
    for number in range(4):
        note("gold", f"n{number}", [FEVER, RASH, ASPIRIN], [caused])
        note("one", f"n{number}", [FEVER, RASH, ASPIRIN][: 2 + number % 2], [turned] if number % 2 else [], sure)
        note("two", f"n{number}", [FEVER, entity(2, "Drug", "rash")])
        note("train", f"t{number}", [FEVER, entity(2, "Drug", "rash")])
    return tmp_path


def test_every_score_is_that_of_evaluate(folders):
    found = collect(folders / "gold", [folders / "one", folders / "two"], samples=200, seed=3).figures
    for system, folder in zip(found["systems"], ("one", "two")):
        assert system["metrics"] == evaluate_folders(
            folders / "gold", folders / folder, relations=True, samples=200, seed=3
        )
    expected = evaluate_folders(folders / "gold", folders / "one", compare=folders / "two", samples=200, seed=3)
    assert found["comparisons"][0]["averages"] == expected["comparison"]


def rows_of(page: str, caption: str) -> list:
    """The cells of a table of the page, without its header."""
    table = page[page.index(f"<caption>{caption}</caption>") :]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[: table.index("</table>")], flags=re.DOTALL)[1:]
    return [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}"


def interval_of(row: dict, sign: str = "") -> str:
    return f"{percent(row['ci_low'], sign)} to {percent(row['ci_high'], sign)}"


def test_every_score_on_the_page_is_that_of_evaluate(folders):
    names = ["one", "two"]
    collected = collect(folders / "gold", [folders / name for name in names], samples=200, seed=3)
    html, markdown = (render(collected, kind, "T") for kind in ("html", "md"))
    for name in names:
        found = evaluate_folders(folders / "gold", folders / name, relations=True, samples=200, seed=3)
        tables = {
            f"Entities, strict: {name}": found["entities"]["strict"],
            f"Entities, relaxed: {name}": found["entities"]["relaxed"],
            f"Relations, strict and directed: {name}": found["relations"]["strict"],
        }
        for caption, scores in tables.items():
            rows = {row[0]: row[1:] for row in rows_of(html, caption)}
            assert rows.keys() == {"micro", "macro", "weighted", *scores["per_type"]}
            for label, cells in rows.items():
                score = scores["per_type"].get(label) or scores[label]
                expected = [percent(score["f"]), interval_of(score), percent(score["p"]), percent(score["r"])]
                expected += [str(score.get(key, "")) for key in ("support", "tp", "fp", "fn")]
                assert cells == expected, (caption, label)
                if not caption.startswith("Entities, relaxed"):
                    figures = " | ".join(percent(score[key]) for key in "prf")
                    assert f"| {label} | {figures} |" in markdown
        glance = next(row for row in rows_of(html, "At a glance") if row[0] == name)
        micro, related = found["entities"]["strict"]["micro"], found["relations"]["strict"]["micro"]
        assert glance[1:4] == [
            percent(micro["f"]), interval_of(micro), percent(found["entities"]["relaxed"]["micro"]["f"])
        ]  # fmt: skip
        assert glance[4:7] == [percent(related["f"]), interval_of(related), str(micro["fp"] + micro["fn"])]
    compared = evaluate_folders(folders / "gold", folders / "one", compare=folders / "two", samples=200, seed=3)
    for what in ("entities", "relations"):
        shown = {row[0]: row[1:5] for row in rows_of(html, f"one minus two, strict F of {what}")}
        for average, row in compared["comparison"][what]["strict"].items():
            expected = [percent(row["f"]), percent(row["other_f"]), percent(row["difference"], "+")]
            assert shown[average] == [*expected, interval_of(row, "+")]


LABELS = ["A", "B", "C"]
SPACE = "one two three four five six seven eight nine ten eleven twelve. "


@st.composite
def random_notes(draw) -> list:
    entities, relations = {}, []
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, 50))
        fragments = ((start, start + draw(st.integers(1, 9))),)
        entities[draw(st.sampled_from(LABELS)), fragments] = None
    made = [Entity(f"T{i}", label, f, SPACE[f[0][0] : f[0][1]]) for i, (label, f) in enumerate(entities, 1)]
    for number in range(draw(st.integers(0, 4)) if len(made) > 1 else 0):
        head, tail = (draw(st.sampled_from(made)).id for _ in range(2))
        relations.append(RelationLine(f"R{number}", draw(st.sampled_from("rs")), (("Arg1", head), ("Arg2", tail))))
    return [made, relations]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(random_notes(), random_notes()), min_size=1, max_size=3))
def test_kinds_sum_to_all_errors_and_margins_are_supports_on_random_folders(tmp_path_factory, notes):
    folder = tmp_path_factory.mktemp("random")
    for number, sides in enumerate(notes):
        for side, (entities, relations) in zip(("gold", "predicted"), sides):
            document = BratDocument(f"n{number}", SPACE, entities, relations)
            write_document(document, folder / side / f"n{number}.txt")
    (system,) = collect(folder / "gold", [folder / "predicted"], samples=1, relations=True).figures["systems"]
    metrics, matrices = system["metrics"], system["confusion"]
    for errors, scores in (
        (system["errors"], metrics["entities"]["strict"]),
        (system["relation_errors"], metrics["relations"]["strict"]),
    ):
        assert errors.keys() <= scores["per_type"].keys()
        for label, score in scores["per_type"].items():
            for side in ("fn", "fp"):
                assert sum(kind[side] for kind in errors.get(label, {}).values()) == score[side]
    for index, label in enumerate(matrices["labels"]):
        score = metrics["entities"]["strict"]["per_type"].get(label, {"support": 0, "tp": 0, "fp": 0})
        assert sum(matrices["mentions"][index]) == score["support"]
        assert sum(row[index] for row in matrices["mentions"]) == score["tp"] + score["fp"]


def test_errors_strata_and_notes_sum_to_the_strict_counts(folders):
    found = collect(folders / "gold", [folders / "one"], train=folders / "train", samples=10).figures["systems"][0]
    strict = found["metrics"]["entities"]["strict"]
    for label, score in strict["per_type"].items():
        kinds = found["errors"].get(label, {}).values()
        assert sum(kind["fn"] for kind in kinds) == score["fn"]
        assert sum(kind["fp"] for kind in kinds) == score["fp"]
    assert set(found["strata"]) == {"mention_tokens", "note_characters", "in_training", "times_in_training"}
    for rows in [*found["strata"].values(), found["notes"]]:
        for side in ("tp", "fp", "fn"):
            assert sum(row[side] for row in rows) == strict["micro"][side]
    assert found["relation_errors"]["caused_by"]["wrong_direction"] == {"fn": 2, "fp": 2}
    by_status = {row["stratum"]: row["support"] for row in found["strata"]["in_training"]}
    assert by_status == {"seen": 4, "seen with another label": 4, "unseen": 4}


def test_confidence(folders):
    found = collect(folders / "gold", [folders / "one"], samples=10).figures["systems"][0]["confidence"]
    assert (found["mentions"], found["without_confidence"]) == (8, 2)
    assert found["reliability"]["ece"] == pytest.approx((0.1 + 0.75) / 2)
    at = dict(zip(found["thresholds"], zip(found["p"], found["r"])))
    assert at[0.25] == (1.0, pytest.approx(8 / 12))
    assert at[0.26] == (1.0, pytest.approx(4 / 12))
    assert at[0.91] == (0.0, 0.0)


class Page(HTMLParser):
    """Checks that elements close in order and collects ids, references and everything loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.anchors, self.loaded = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in {"meta", "link", "br", "input", "path", "use"}:
            self.open.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "a":
            self.anchors.append(attrs["href"])
        self.loaded += [attrs[name] for name in ("src", "data", "action") if name in attrs]
        if tag == "link":
            self.loaded.append(attrs["href"])

    def handle_startendtag(self, tag, attrs):
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(page: str) -> Page:
    parser = Page()
    parser.feed(page)
    assert not parser.open
    assert len(set(parser.ids)) == len(parser.ids)
    assert {anchor[1:] for anchor in parser.anchors} <= set(parser.ids)
    assert parser.loaded == ["data:,"]
    return parser


@pytest.mark.parametrize("kind", ["html", "md", "json"])
def test_no_character_of_a_note_without_show_text(folders, kind):
    collected = collect(folders / "gold", [folders / "one", folders / "two"], train=folders / "train", samples=20)
    page = render(collected, kind, "Title")
    for word in (SENTINEL, "fever", "rash", "aspirin"):
        assert word not in page
    assert "Sign" in page
    if kind == "html":
        parse(page)
        assert "patient data" not in page


def test_the_notes_stand_on_the_page_if_asked_for(folders):
    page = render(collect(folders / "gold", [folders / "two"], samples=20, show_text=True), "html", "A <title>")
    parser = parse(page)
    assert "patient data" in page and "A &lt;title&gt;" in page and "&lt;b&gt;" in page
    body = re.sub(r"<(su[bp]|u)>.*?</\1>|<style>.*?</style>|<script>.*?</script>", "", page, flags=re.DOTALL)
    texts = re.findall(r'<div class="text">(.*?)</div>', body, flags=re.DOTALL)
    assert [re.sub("<[^>]*>", "", text).replace("&lt;", "<").replace("&gt;", ">") for text in texts] == [TEXT] * 4
    pattern = r'<li data-kind="[^"]*" data-label="[^"]*" data-place="([^"]*)"(?: data-tail="([^"]*)")?>'
    places = re.findall(pattern, page)
    assert len(places) == 4 * (3 + 1)  # three mentions and a relation of each note are wrong
    assert {place for pair in places for place in pair if place} <= set(parser.ids)


def test_what_is_right_and_what_is_wrong_is_told_apart_in_the_text(folders):
    (note, *_) = collect(folders / "gold", [folders / "one"], samples=20, show_text=True).notes
    view = annotated(note, 0)
    pieces = {piece.text: piece for piece in view["pieces"]}
    assert pieces["fever"].starts == [("both", "Sign")] and not pieces["fever"].wrong
    assert pieces["aspirin"].starts == [("gold", "Drug")] and pieces["aspirin"].wrong
    assert pieces["aspirin"].gold == ["Drug"] and pieces["aspirin"].predicted == []
    (error,), (relation,) = view["errors"], view["relations"]
    assert (error["kind"], error["place"]) == ("missed", pieces["aspirin"].id)
    assert (relation["kind"], relation["side"], relation["head"]) == ("mention_missing", "gold", "rash")
    assert (relation["head_place"], relation["tail_place"]) == (pieces["rash"].id, pieces["aspirin"].id)


def test_candidates_are_asked_for_each_system(folders):
    asked = []

    def candidates(document):
        asked.append(document.name)
        return set()

    (folders / "three").mkdir()
    for number in range(4):
        note = BratDocument(f"n{number}", TEXT, [FEVER, RASH, ASPIRIN])
        write_document(note, folders / "three" / f"n{number}.txt")
    predictions = [folders / "three", folders / "three"]
    one, two = collect(folders / "gold", predictions, samples=10, candidates=[candidates]).figures["systems"]
    assert asked == ["n0", "n1", "n2", "n3"]
    assert one["relation_errors"] == {"caused_by": {"not_a_candidate": {"fn": 4, "fp": 0}}}
    assert two["relation_errors"] == {"caused_by": {"missed": {"fn": 4, "fp": 0}}}


def test_markdown_and_json_say_the_figures(folders):
    collected = collect(folders / "gold", [folders / "one"], samples=20)
    micro = collected.figures["systems"][0]["metrics"]["entities"]["strict"]["micro"]
    assert f"| micro | {100 * micro['p']:.2f} | {100 * micro['r']:.2f} | {100 * micro['f']:.2f} |" in render(
        collected, "md", "T"
    )
    assert json.loads(render(collected, "json", "T")) == json.loads(srsly.json_dumps(collected.figures))


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


CONSOLE = """ℹ Pipeline: ['crf_ner']
E    #       LOSS CRF_NER  ENTS_F  ENTS_P  ENTS_R  SCORE
---  ------  ------------  ------  ------  ------  ------
  0       0       1099.26    0.35    0.19    2.01    0.00
\x1b[38;5;2m  0     200      23329.20   62.66   67.07   58.79    0.63\x1b[0m
✔ Saved pipeline to output directory
"""


def trained(folder):
    (folder / "model-best").mkdir(parents=True)
    srsly.write_json(
        folder / "model-best/meta.json", {"lang": "es", "name": "x", "performance": {"ents_f": 0.5, "a": {}}}
    )
    (folder / "model-best/config.cfg").write_text("[nlp]\nlang = es\n")


def test_training(tmp_path):
    rows = parse_console(CONSOLE)
    assert [row["step"] for row in rows] == [0, 200]
    assert rows[1]["losses"] == {"crf_ner": 23329.2}
    assert rows[1]["scores"] == {"ents_f": 62.66, "ents_p": 67.07, "ents_r": 58.79}
    trained(tmp_path / "t")
    (tmp_path / "t/train.log").write_text(CONSOLE, encoding="utf8")
    found = read_training(tmp_path / "t")
    assert found["updates"] == rows and found["performance"] == {"ents_f": 0.5}
    assert found["audits"] == found["ceilings"] == {} and found["versions"] == {"spacy": ""}
    (tmp_path / "t/log.jsonl").write_text('{"epoch": 0, "step": 7, "losses": {}, "scores": {}, "score": 0.5}\n')
    assert [row["step"] for row in read_training(tmp_path / "t")["updates"]] == [7]
    (tmp_path / "t/log.jsonl").write_text('{"step": 1}\nsecretword\n', encoding="utf8")
    with pytest.raises(InputError, match=r"log\.jsonl:2: not JSON"):
        read_training(tmp_path / "t")
    (tmp_path / "t/model-best/meta.json").write_text("{", encoding="utf8")
    with pytest.raises(InputError, match=r"meta\.json:1: not JSON"):
        read_training(tmp_path / "t")
    with pytest.raises(InputError, match="no trained pipeline"):
        read_training(tmp_path)


def test_what_the_logger_wrote_and_what_lies_beside_the_pipeline(folders, tmp_path):
    trained(tmp_path / "t")
    header = {"started": "2026-01-01T00:00:00+00:00", "versions": {"spacy": "3.8", "torch": "2.1"}}
    row = {"step": 5, "epoch": 0, "seconds": 3, "words": 9, "losses": {"crf_ner": 2.5}, "scores": {"ents_f": 50.0}}
    lines = [header, {**row, "score": 0.5}, {**row, "step": 10, "seconds": 90, "score": 0.6}]
    (tmp_path / "t/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cli._register()
    arguments = ["convert", folders / "gold", tmp_path / "g.spacy", "--lang", "en"]
    arguments += ["--audit", tmp_path / "t/audit.json"]
    assert CliRunner().invoke(cli.app, [str(each) for each in arguments]).exit_code == 0
    (tmp_path / "t/dev.audit.json").write_text((tmp_path / "t/audit.json").read_text("utf8"), encoding="utf8")
    documents = list(read_folder(folders / "gold"))
    srsly.write_json(tmp_path / "t/test.stats.json", corpus_report(blank_pipeline("en"), documents))
    found = read_training(tmp_path / "t")
    assert [each["step"] for each in found["updates"]] == [5, 10] and found["versions"] == header["versions"]
    assert found["audits"].keys() == {"audit.json", "dev.audit.json"} and "files" not in found["audits"]["audit.json"]
    assert found["audits"]["audit.json"]["mentions"]["read"] == 12
    assert found["ceilings"]["test.stats.json"]["views"]["flat"]["strict"]["f"] == 1.0
    page = render(collect(folders / "gold", [folders / "one"], samples=9, training=tmp_path / "t"), "html", "T")
    parse(page)
    for word in ("10 updates in 1.5 minutes", "torch 2.1", "mentions as tokens", "best strict micro F", "2026-01-01"):
        assert word in page


def test_pipeline_of_the_command(folders):
    cli._register()
    arguments = ["report", folders / "gold", folders / "one", "-o", folders / "r.md", "--pipeline"]
    arguments = [str(each) for each in arguments]
    blank_pipeline("en").to_disk(folders / "blank")
    with pytest.raises(ClinicalNerError, match="no component of this pipeline finds relations"):
        CliRunner().invoke(cli.app, [*arguments, str(folders / "blank")], catch_exceptions=False)
    with pytest.raises(ClinicalNerError, match="2 times --pipeline, but 1 folders"):
        CliRunner().invoke(cli.app, [*arguments, "a", "--pipeline", "b"], catch_exceptions=False)


def test_command(folders, monkeypatch):
    trained(folders / "training")
    (folders / "training/train.log").write_text(CONSOLE, encoding="utf8")
    cli._register()
    runner = CliRunner()
    arguments = ["report", str(folders / "gold"), str(folders / "one"), str(folders / "two"), "--name", "CRF"]
    arguments += ["--name", "other", "--training", str(folders / "training"), "--bootstrap", "20"]
    result = runner.invoke(cli.app, [*arguments, "-o", str(folders / "r.html")])
    assert result.exit_code == 0, result.output
    page = (folders / "r.html").read_text("utf8")
    parse(page)
    assert "CRF minus other" in page and "Loss over updates" in page
    for suffix in ("md", "json", "html", "md", "json"):  # its own pages are replaced
        assert runner.invoke(cli.app, [*arguments, "-o", str(folders / f"r.{suffix}")]).exit_code == 0
    with pytest.raises(ClinicalNerError, match="ends in"):
        runner.invoke(cli.app, [*arguments, "-o", str(folders / "r.txt")], catch_exceptions=False)
    with pytest.raises(ClinicalNerError, match="show-text"):
        runner.invoke(cli.app, [*arguments, "--show-text", "-o", str(folders / "r.md")], catch_exceptions=False)
    with pytest.raises(ClinicalNerError, match="as many names"):
        collect(folders / "gold", [folders / "one"], names=["a", "b"])
