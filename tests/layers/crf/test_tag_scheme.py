"""Tag schemes: spans to tags and back, and the constraints that make every path readable."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme

SCHEMES = ["BIO", "BIOES"]


@st.composite
def spans_of_a_sequence(draw):
    length = draw(st.integers(0, 15))
    cuts = draw(st.lists(st.integers(0, length), unique=True, max_size=8))
    spans = []
    for start, end in zip(sorted(cuts), sorted(cuts)[1:]):
        label = draw(st.integers(-1, 2))
        if label >= 0:
            spans.append((start, end, label))
    return spans, length


@pytest.mark.parametrize("name", SCHEMES)
@given(drawn=spans_of_a_sequence())
def test_decode_undoes_encode(name, drawn):
    spans, length = drawn
    scheme = TagScheme(name)
    tags = scheme.encode(spans, length)
    assert tags.shape == (length,)
    assert scheme.decode(tags) == spans


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_constraints_allow_exactly_what_encode_can_write(name, length):
    scheme = TagScheme(name)
    tags = range(scheme.num_tags(2) if length < 4 else scheme.num_tags(1))
    rules = scheme.constraints(2)
    for path in product(tags, repeat=length):
        allowed = bool(rules.start[path[0]] and rules.end[path[-1]])
        allowed = allowed and all(bool(rules.transition[i, j]) for i, j in zip(path, path[1:]))
        assert allowed == (scheme.encode(scheme.decode(path), length).tolist() == list(path)), path


def test_layout():
    assert TagScheme("BIO").tags(["A", "B"]) == ["O", "B-A", "I-A", "B-B", "I-B"]
    assert TagScheme("BIOES").tags(["A"]) == ["O", "B-A", "I-A", "E-A", "S-A"]
    assert TagScheme("BIOES").tag("E", 1) == 7
    assert TagScheme("BIO").num_tags(0) == 1


def test_constraints_take_labels_or_their_number():
    scheme = TagScheme("BIOES")
    for by_name, by_number in zip(scheme.constraints(["A", "B"])[:3], scheme.constraints(2)[:3]):
        assert by_name.equal(by_number)


def test_spans_of_a_batch():
    scheme = TagScheme("BIO")
    tags = torch.tensor([[1, 2, 0, 3, 4], [0, 1, 1, 2, 2], [1, 2, 2, 2, 2], [3, 4, -1, -1, -1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    wanted = [[0, 0, 2, 0], [0, 3, 5, 1], [1, 1, 2, 0], [1, 2, 4, 0], [2, 0, 3, 0], [3, 0, 2, 1]]
    assert scheme.spans(tags, mask).tolist() == wanted
    assert scheme.spans(tags[:0]).shape == (0, 4)


def test_tags_that_break_the_scheme_are_read_leniently():
    assert TagScheme("BIO").decode([2, 2, 0, 1, 4]) == [(0, 2, 0), (3, 4, 0), (4, 5, 1)]
    assert TagScheme("BIOES").decode([1, 2, 0, 3]) == [(0, 2, 0), (3, 4, 0)]


@pytest.mark.parametrize("spans", [[(0, 0, 0)], [(1, 4, 0)], [(-1, 1, 0)], [(0, 1, -1)], [(0, 2, 0), (1, 3, 0)]])
def test_spans_that_do_not_fit(spans):
    with pytest.raises(ValueError, match="span"):
        TagScheme("BIOES").encode(spans, 3)


def test_unknown_scheme():
    with pytest.raises(ValueError, match="BIO, BIOES"):
        TagScheme("IOB")
