from __future__ import annotations

import pytest

from spacy_clinical_ner.raw_notes.settings import Schedule


def test_rises_linearly_and_falls_to_zero() -> None:
    schedule = Schedule.of(2.0, 100)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[:6] == pytest.approx([2 * (step + 1) / 6 for step in range(6)])
    assert rates[6:] == pytest.approx([2 * (100 - step) / 94 for step in range(6, 101)])


@pytest.mark.parametrize("total", [1, 2, 5])
def test_few_steps_are_possible(total: int) -> None:
    assert all(0 < Schedule.of(1.0, total).rate(step) <= 1 for step in range(total))


def test_total_decided_while_warming_up() -> None:
    schedule = Schedule.of(1.0, None)
    assert schedule.rate(22) == pytest.approx(23 / 500)
    schedule.end_at(1000, 23)
    assert schedule.rate(23) == pytest.approx(24 / 60)
    assert schedule.rate(60) == 1.0
    assert schedule.rate(530) == pytest.approx(0.5)
    assert schedule.rate(1000) == 0.0


@pytest.mark.parametrize("total", [120, 550, 5000])
def test_corrected_total_goes_on_from_the_rate_it_was_at(total: int) -> None:
    schedule = Schedule.of(1.0, 200)
    before = schedule.rate(106)
    schedule.end_at(total, 106)
    assert schedule.rate(106) == pytest.approx(before)
    assert schedule.rate((106 + total) // 2) == pytest.approx(before / 2, rel=0.02)
    assert schedule.rate(total) == 0.0


def test_total_is_never_before_what_is_done() -> None:
    schedule = Schedule.of(1.0, None)
    schedule.end_at(3, 23)
    assert schedule.total == 23
    assert 0 <= schedule.rate(23) <= 1


def test_round_trip() -> None:
    schedule = Schedule.of(1.0, None)
    schedule.end_at(1000, 23)
    schedule.end_at(700, 300)
    again = Schedule(**vars(schedule))
    assert [again.rate(step) for step in range(700)] == [schedule.rate(step) for step in range(700)]
