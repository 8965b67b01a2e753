"""Headless Chromium for what must be seen of a page: its pictures, its speed, its requests, its accessibility.

Needs selenium, chromium and chromedriver (Debian's packages chromium and chromium-driver) and, for `axe`, axe-core:
`npm install --prefix .venv axe-core`, or a folder with it in the environment variable AXE_CORE.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from benchmarks.common import ROOT

# No request of the browser's own: a page that makes none must be told from a browser that does.
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def missing(axe: bool = False) -> Optional[str]:
    """What is not installed, by name, or None."""
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if find_spec("selenium") is None:
        programs.append("selenium")
    if axe and axe_script() is None:
        programs.append("axe-core")
    return ", ".join(programs) or None


def axe_script() -> Optional[Path]:
    """axe-core's one file, if it is installed."""
    folders = [ROOT / ".venv" / "node_modules" / "axe-core", ROOT / "node_modules" / "axe-core"]
    if os.environ.get("AXE_CORE"):
        folders.insert(0, Path(os.environ["AXE_CORE"]))
    return next((folder / "axe.min.js" for folder in folders if (folder / "axe.min.js").is_file()), None)


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A selenium driver whose page is that many pixels wide and high; `requests` reads what it asked for."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        driver.command_executor.client_config.timeout = 600  # a large page on a busy machine
        driver.set_page_load_timeout(600)
        try:
            resize(driver, width, height)
            driver.get("about:blank")
            driver.get_log("performance")  # the pages that the browser itself begins with
            yield driver
        finally:
            driver.quit()


def resize(driver: Any, width: int, height: int, *, touch: bool = False) -> None:
    """The page's width and height in pixels, below what a window could be; touch: as on a telephone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def scheme(driver: Any, name: str) -> None:
    """`light` or `dark`, as the person's system says."""
    features = [{"name": "prefers-color-scheme", "value": name}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requests(driver: Any) -> List[str]:
    """Addresses that were asked for since the last call, those of the page itself and of data in it left out."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("data:", "file:", "blob:", "about:")) or url != message["params"]["documentURL"]:
                found.append(url)
    return [url for url in found if not url.startswith("data:")]


def axe(driver: Any) -> List[Dict[str, Any]]:
    """What axe-core finds wrong on the page as it is now: its violations, with `id`, `impact` and `nodes`."""
    script = axe_script()
    assert script is not None, missing(axe=True)
    driver.execute_script(script.read_text(encoding="utf8"))
    done = "const done = arguments[0]; axe.run(document).then((result) => done(result.violations));"
    driver.set_script_timeout(240)
    return list(driver.execute_async_script(done))
