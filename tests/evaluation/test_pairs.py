"""Which documents are compared, and what is refused."""

from __future__ import annotations

import pytest

from spacy_clinical_ner.brat import parse_standoff
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.pairs import (
    RelationKey,
    mentions_of,
    pair_documents,
    pair_folders,
    relations_of,
)

TEXT = "secretword one two\nthree four\n"


def write(folder, name, text=TEXT, ann="T1\tA 0 10\tsecretword\n"):
    path = folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        path.write_bytes(text.encode("utf8"))
    if ann is not None:
        path.with_suffix(".ann").write_bytes(ann.encode("utf8"))


@pytest.fixture()
def gold(tmp_path):
    write(tmp_path / "gold", "b/2")
    write(tmp_path / "gold", "a")
    return tmp_path / "gold"


@pytest.fixture()
def pred(tmp_path):
    (tmp_path / "pred").mkdir()
    return tmp_path / "pred"


def test_documents_are_paired_by_relative_path(gold, pred):
    write(pred, "b/2", ann="T1\tB 11 14\tone\n")
    pairs = list(pair_folders(gold, pred))
    assert [pair.gold.name for pair in pairs] == ["a", "b/2"]
    assert pairs[0].predicted is None
    assert mentions_of(pairs[1].predicted) == {Mention("B", ((11, 14),))}


def test_predictions_need_no_text_file(gold, pred):
    write(pred, "a", text=None, ann="T1\tB 11 14\tone\n")
    (pair, _) = pair_folders(gold, pred)
    assert pair.predicted.text == TEXT
    assert mentions_of(pair.predicted) == {Mention("B", ((11, 14),))}


def test_a_text_without_annotations_predicts_nothing_but_is_there(gold, pred):
    write(pred, "a", ann=None)
    (pair, _) = pair_folders(gold, pred)
    assert pair.predicted is not None and not mentions_of(pair.predicted)


@pytest.mark.parametrize(
    "text, line",
    [("secretword one two\nThree four\n", 2), (TEXT.replace("\n", "\r\n"), 1), (TEXT + "x", 3), (TEXT[:-1], 2)],
)
def test_other_text_is_refused_by_file_and_line_without_quoting_it(gold, pred, text, line):
    write(pred, "a", text=text)
    with pytest.raises(InputError) as error:
        list(pair_folders(gold, pred))
    assert error.value.path == pred / "a.txt"
    assert error.value.line == line
    for word in TEXT.split():
        assert word not in error.value.reason.lower()


def test_a_prediction_without_gold_is_refused_unless_told(gold, pred):
    write(pred, "a")
    write(pred, "c")
    write(pred, "d", text=None)
    with pytest.raises(InputError, match=r"c\.txt: there is no gold document .* 1 more.*--ignore-extra"):
        list(pair_folders(gold, pred))
    assert [pair.gold.name for pair in pair_folders(gold, pred, ignore_extra=True)] == ["a", "b/2"]


def test_malformed_predictions_name_file_and_line(gold, pred):
    write(pred, "a", text=None, ann="T1\tA 0 10\tsecretword\nT2\tA 5 500\tx\n")
    with pytest.raises(InputError) as error:
        list(pair_folders(gold, pred))
    assert (error.value.path, error.value.line) == (pred / "a.ann", 2)


def test_predictions_in_another_encoding_are_refused(gold, pred):
    (pred / "a.ann").write_bytes("T1\tA 0 10\tñ\n".encode("latin1"))
    with pytest.raises(InputError, match=r"a\.ann:1: not UTF-8"):
        list(pair_folders(gold, pred))


def test_missing_and_empty_folders_are_refused(gold, pred):
    with pytest.raises(InputError, match="no such folder"):
        list(pair_folders(gold, pred / "none"))
    with pytest.raises(InputError, match=r"no \.ann file"):
        list(pair_folders(gold, pred))


def test_documents_in_memory_are_checked_alike():
    one, other = parse_standoff("n", TEXT, "T1\tA 0 10\tsecretword\n"), parse_standoff("n", TEXT + "x", "")
    assert next(pair_documents([one], [one])) == (one, one)
    assert next(pair_documents([one], [])) == (one, None)
    for gold, predicted, reason in (
        ([one], [other], "text differs"),
        ([one, one], [one], "two gold documents"),
        ([one], [one, one], "two predicted documents"),
        ([], [one], "no gold document"),
    ):
        with pytest.raises(InputError, match=reason):
            list(pair_documents(gold, predicted))
    assert not list(pair_documents([], [one], ignore_extra=True))


def test_fragments_are_sorted_and_merged_over_line_breaks_only():
    document = parse_standoff("n", TEXT, "T1\tA 15 18;19 24\ttwo three\nT2\tA 11 14;0 10\tone secretword\n")
    assert mentions_of(document) == {Mention("A", ((15, 24),)), Mention("A", ((0, 10), (11, 14)))}


def test_repeated_mentions_are_one():
    document = parse_standoff("n", TEXT, "T1\tA 0 10\tsecretword\nT2\tA 0 10\tsecretword\nT3\tB 0 10\tsecretword\n")
    assert len(mentions_of(document)) == 2


def test_relations_resolve_events_and_argument_names():
    document = parse_standoff(
        "n",
        TEXT,
        "T1\tA 0 10\tsecretword\nT2\tB 11 14\tone\nE1\tB:T2 \nR1\tR Arg1:T1 Arg2:E1\t\nR2\tR Arg2:T1 Arg1:E1\t\n"
        "R3\tR Arg1:T1 Arg2:T2\t\n",
    )
    first, second = Mention("A", ((0, 10),)), Mention("B", ((11, 14),))
    assert relations_of(document) == {RelationKey("R", first, second), RelationKey("R", second, first)}
