"""The page in headless Chromium: by keyboard, without a request to any other host, accessible by axe-core's rules."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

import uvicorn

from benchmarks.browser import axe, browser, missing, requests, resize, scheme
from spacy_clinical_ner.service.app import create_app
from tests.annotation.tasks import pipeline

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(missing(axe=True) is not None, reason=f"not installed: {missing(axe=True)}"),
]
NOTE = "niño 😀 con fiebre\ny carcinoma, sin fiebre <b>alta</b>"


@contextmanager
def served():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(pipeline()), access_log=False, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser() as driver:
        folder = str(tmp_path_factory.mktemp("downloads"))
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": folder})
        driver.downloads = folder
        yield driver


def waited(driver, what):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 60).until(lambda driver: what())


def annotate(driver, address, note=NOTE):
    """By keyboard alone, but for the smiley, which no driver of Chromium types."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    driver.get(address)
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "To the note"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    area = driver.switch_to.active_element
    assert area.get_attribute("id") == "note"
    driver.execute_script("arguments[0].value = arguments[1]", area, note)
    area.send_keys(Keys.CONTROL, Keys.ENTER)
    status = driver.find_element(By.ID, "status")
    waited(driver, lambda: "mentions" in status.text or driver.find_element(By.ID, "problem").is_displayed())
    return status


def texts(driver, selector):
    from selenium.webdriver.common.by import By

    return [each.text for each in driver.find_elements(By.CSS_SELECTOR, selector)]


def test_mentions_relations_and_threshold(driver, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    status = annotate(driver, address)
    assert status.text == "3 mentions, 2 relations" and status.get_attribute("role") == "status"
    assert texts(driver, "#text span") == ["fiebre", "carcinoma", "fiebre"]
    assert texts(driver, "#mentions tbody th") == ["fiebre", "carcinoma", "fiebre"]
    assert driver.execute_script("return document.getElementById('text').textContent").endswith("<b>alta</b>")
    assert texts(driver, "#mentions tbody tr")[0].split() == ["fiebre", "S", "0.33", "11–17"]
    assert texts(driver, "#relations tbody tr")[0].split() == ["fiebre", "NEXT", "carcinoma", "0.10"]

    link = driver.find_element(By.CSS_SELECTOR, "#relations tbody a")
    link.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.text == "fiebre"
    assert texts(driver, "#text .now") == ["fiebre", "carcinoma"]
    assert len(driver.find_elements(By.CSS_SELECTOR, "#text svg path")) == 1

    slider = driver.find_element(By.ID, "threshold")
    slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 22)
    assert driver.find_element(By.ID, "at-least").text == "0.22"
    assert status.text == "2 mentions, 0 relations; 3 below the threshold"
    assert texts(driver, "#text span") == ["fiebre", "carcinoma"]


def test_brat_download_is_of_what_is_shown(driver, address):
    from pathlib import Path

    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    annotate(driver, address)
    driver.find_element(By.ID, "threshold").send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 22)
    for name in ("ann", "txt"):
        driver.find_element(By.ID, name).send_keys(Keys.ENTER)
    folder = Path(driver.downloads)
    waited(driver, lambda: {"note.ann", "note.txt"} <= {path.name for path in folder.iterdir()})
    assert (folder / "note.txt").read_text("utf8") == NOTE
    assert (folder / "note.ann").read_text("utf8") == "T1\tS 11 17\tfiebre\nT2\tM 20 29\tcarcinoma\n"


def test_a_note_that_fails_is_told(driver, address):
    from selenium.webdriver.common.by import By

    annotate(driver, address, "secreto")
    problem = driver.find_element(By.ID, "problem")
    assert "the pipeline fails on this note" in problem.text and problem.get_attribute("role") == "alert"


def test_accessible_and_without_a_request_elsewhere(driver, address):
    requests(driver)
    for path in ("", "docs"):
        for mode in ("light", "dark"):
            for width in (1280, 390):
                scheme(driver, mode)
                resize(driver, width, 900)
                if path:
                    driver.get(address + path)
                    waited(driver, lambda: len(texts(driver, "h2")) > 5)
                else:
                    annotate(driver, address)
                found = {(each["id"], each["impact"]) for each in axe(driver)}
                serious = {id for id, impact in found if impact in ("serious", "critical")}
                assert not serious, (path, mode, width, found)
                assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    asked = requests(driver)
    assert asked and all(url.startswith(address) for url in asked)
    refused = [entry for entry in driver.get_log("browser") if "Content Security Policy" in json.dumps(entry)]
    assert not refused


def test_the_page_for_programs(driver, address):
    driver.get(address + "docs")
    waited(driver, lambda: len(texts(driver, "h2")) > 5)
    assert "POST /annotate Annotate a note" in texts(driver, "h2")
    assert {"rows", "note_id", "fragments", "threshold"} <= set(texts(driver, "tbody th"))
