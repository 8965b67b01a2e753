from __future__ import annotations

import json

from wasabi import Printer

from spacy_clinical_ner.brat import FolderAudit, Policy, align, parse_standoff
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.brat.malformed import MALFORMED, SECRETS, TEXT


def audit_of(*documents, **policy):
    nlp = blank_pipeline("es")
    audit = FolderAudit()
    for document in documents:
        audit.add(document, align(nlp, document, Policy(**policy)))
    return audit


def test_report():
    ann = (
        "T1\tX 9 18\tcarci noma\nT2\tX 9 25\tcarcinoma ductal\nT3\tY 27 30;33 36\tDol 8mg\n"
        "T4\tX 0 99\tx\nR1\tZ Arg1:T1 Arg2:T3\t\nR2\tZ Arg1:T1 Arg2:T4\t\nsecreto"
    )
    first = parse_standoff("a", TEXT, ann, on_error="drop")
    second = parse_standoff("b", TEXT, "")
    second.audit.has_ann = False
    report = audit_of(first, second, discontinuous="skip").to_dict()
    assert (report["documents"], report["documents_without_ann"]) == (2, 1)
    lines = report["lines"]
    assert {key: lines[key] for key in ("read", "kept", "repaired", "dropped")} == {
        "read": 7,
        "kept": 3,
        "repaired": 1,
        "dropped": 3,
    }
    assert lines["kinds"]["T"] == {"read": 4, "kept": 2, "repaired": 1, "dropped": 1}
    assert lines["kinds"]["?"] == {"read": 1, "kept": 0, "repaired": 0, "dropped": 1}
    assert lines["labels"]["T"] == {
        "(unreadable)": {"read": 1, "kept": 0, "repaired": 0, "dropped": 1},
        "X": {"read": 2, "kept": 1, "repaired": 1, "dropped": 0},
        "Y": {"read": 1, "kept": 1, "repaired": 0, "dropped": 0},
    }
    assert [(row["state"], row["count"]) for row in lines["reasons"]] == [
        ("dropped", 1),
        ("dropped", 1),
        ("dropped", 1),
        ("repaired", 1),
    ]
    mentions = report["mentions"]
    assert {key: mentions[key] for key in ("read", "kept", "repaired", "dropped")} == {
        "read": 3,
        "kept": 2,
        "repaired": 0,
        "dropped": 1,
    }
    assert mentions["hidden_from_ents"] == {"overlaps another mention": 1}
    assert mentions["reasons"] == [{"state": "dropped", "reason": "discontinuous: skipped", "count": 1}]
    assert report["relations"] == {"read": 1, "not_shown": 1}
    assert report["dropped"] == 4
    assert [row["line"] for row in report["files"]["a"]["notable"]] == [1, 4, 6, 7, 3]
    assert report["files"]["b"] == {
        "has_ann": False,
        "lines": {"read": 0, "kept": 0, "repaired": 0, "dropped": 0},
        "mentions": {"read": 0, "kept": 0, "repaired": 0, "dropped": 0},
        "notable": [],
    }


def test_reasons_do_not_grow_with_the_corpus():
    documents = [
        parse_standoff(str(i), TEXT, f"T{i}\tX 0 {100 + i}\tx\nR{i}\tZ Arg1:T8 Arg2:T9\n", on_error="drop")
        for i in range(50)
    ]
    reasons = audit_of(*documents).to_dict()["lines"]["reasons"]
    assert [row["count"] for row in reasons] == [50, 50]


def test_neither_json_nor_table_quotes_a_note():
    documents = [
        parse_standoff(f"note{i}", TEXT, case.ann, on_error="drop") for i, case in enumerate(MALFORMED.values())
    ]
    audit = audit_of(*documents, misaligned="drop")
    report = audit.to_dict()
    assert report["lines"]["read"] == sum(len(case.lines) for case in MALFORMED.values())
    assert report["lines"]["dropped"] == sum(case.dropped for case in MALFORMED.values())
    printer = Printer(no_print=True)
    printer.text = printer.table = printer.divider = _Recorder()
    audit.print(printer)
    for written in (json.dumps(report), repr(printer.text.calls)):
        assert "malformed" not in written
        assert not any(secret in written for secret in SECRETS)


class _Recorder:
    def __init__(self):
        self.calls = []

    def __call__(self, *args, **kwargs):
        self.calls.append((args, kwargs))


def test_table_shows_the_totals(capsys):
    document = parse_standoff("a", TEXT, "T1\tX 9 18\tcarci noma\nT2\tX 9 14\tcarci\nx", on_error="drop")
    audit_of(document).print(Printer(no_print=False))
    out = capsys.readouterr().out
    assert ["all", "lines", "3", "1", "1", "1"] in [line.split() for line in out.splitlines()]
    assert "mention text differed from the document in white space: kept as it stands" in out
    assert "1 mentions begin or end inside a token" in out
