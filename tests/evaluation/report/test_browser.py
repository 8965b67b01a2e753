"""The page in headless Chromium: accessible by axe-core's rules, without a request, and by keyboard.

`make browser` installs what it needs but for Debian's chromium and chromium-driver; without these the tests are
skipped.
"""

from __future__ import annotations

import pytest

from benchmarks.browser import axe, browser, missing, requests, resize, scheme
from spacy_clinical_ner.evaluation.report import collect, render
from tests.evaluation.report.test_report import folders, trained  # noqa: F401

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(missing(axe=True) is not None, reason=f"not installed: {missing(axe=True)}"),
]
SERIOUS = {"serious", "critical"}


@pytest.fixture()
def page(folders):  # noqa: F811
    trained(folders / "training")
    collected = collect(
        folders / "gold",
        [folders / "one", folders / "two"],
        train=folders / "train",
        training=folders / "training",
        samples=20,
        show_text=True,
    )
    path = folders / "report.html"
    path.write_text(render(collected, "html", "A report"), encoding="utf8")
    return path.as_uri()


def test_accessible_and_without_a_request(page):
    with browser() as driver:
        for mode in ("light", "dark"):
            for width in (1280, 390):
                scheme(driver, mode)
                resize(driver, width, 900)
                driver.get(page)
                driver.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
                found = {(each["id"], each["impact"]) for each in axe(driver)}
                assert not {id_ for id_, impact in found if impact in SERIOUS}, (mode, width, found)
                assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert requests(driver) == []


def test_errors_are_reached_by_keyboard_and_filtered(page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    with browser() as driver:
        driver.get(page)
        body = driver.find_element(By.TAG_NAME, "body")
        status = driver.find_element(By.ID, "status")
        body.send_keys(Keys.TAB)
        assert driver.switch_to.active_element.text == "To the figures"
        assert status.text.startswith("4 notes, ")
        body.send_keys("n")
        assert status.text.startswith("error 1 of ")
        assert driver.switch_to.active_element.get_attribute("class").split()[-1] == "now"
        body.send_keys("p")
        assert status.text.split(":")[0].split(" of ")[0].split()[1] == status.text.split(":")[0].split(" of ")[1]
        driver.find_element(By.ID, "filter-kind").send_keys("relation: right mentions and label, wrong direction")
        assert status.text == "2 notes, 4 errors"
        body.send_keys("n")
        assert len(driver.find_elements(By.CSS_SELECTOR, ".text .now")) == 2
        assert len(driver.find_elements(By.CSS_SELECTOR, ".text svg path")) == 1
