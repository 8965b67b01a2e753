"""Relation types out of an annotation.conf."""

import pytest

from spacy_clinical_ner.brat.configuration import RelationType, read_relation_types
from spacy_clinical_ner.errors import InputError

CONF = """# types of our notes
<SIGN>=Fever|Cough
[entities]
Finding
	Fever
	Cough
!Anatomy
	Site
----
[events]
Surgery\tDate-Arg?:Date
[relations]
MODIFY\tArg1:Site, Arg2:<SIGN>|Surgery
SAME Arg1:<ENTITY>, Arg2:<ENTITY>, <REL-TYPE>:symmetric-transitive
CAUSE Arg1:<EVENT>, Arg2:<ANY>
<OVERLAP>\tArg1:<ENTITY>, Arg2:<ENTITY>, <OVL-TYPE>:<ANY>
[attributes]
Negation\tArg:<EVENT>
"""


def write(folder, text):
    path = folder / "annotation.conf"
    path.write_text(text, encoding="utf8")
    return path


def test_reads_types_macros_and_symmetry(tmp_path):
    entities = ("Finding", "Fever", "Cough", "Anatomy", "Site")
    assert read_relation_types(write(tmp_path, CONF)) == [
        RelationType("MODIFY", ("Site",), ("Fever", "Cough", "Surgery")),
        RelationType("SAME", entities, entities, True),
        RelationType("CAUSE", ("Surgery",), (*entities, "Surgery")),
    ]


@pytest.mark.parametrize(
    ("relations", "line", "reason"),
    [
        ("R X Y", 2, "not of the form"),
        ("R Arg1:X", 2, "needs two arguments"),
        ("R Arg1:X, Arg2:<Y>", 2, "<Y> is not defined"),
        ("", None, "no relation"),
    ],
)
def test_bad_files(tmp_path, relations, line, reason):
    with pytest.raises(InputError, match=reason) as error:
        read_relation_types(write(tmp_path, f"[relations]\n{relations}\n"))
    assert error.value.line == line


def test_not_utf8(tmp_path):
    path = tmp_path / "annotation.conf"
    path.write_bytes(b"[relations]\n\xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_relation_types(path)
