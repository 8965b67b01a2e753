"""A MkDocs hook: a page of the API for every room of the package, and one for the modules that stand in none.

The pages are made while building, so that a room that is new is never missing and one that is gone leaves nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parents[1] / "spacy_clinical_ner"


def api_pages() -> Dict[str, str]:
    """{path below docs/: Markdown} of the API, in the order of the navigation."""
    rooms = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
    modules = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))
    pages = {f"api/{room}.md": f"# {room}\n\n::: {PACKAGE.name}.{room}\n" for room in rooms}
    shared = [
        f"## {module}\n\n::: {PACKAGE.name}.{module}\n    options:\n      heading_level: 3\n" for module in modules
    ]
    return {**pages, "api/shared.md": "\n".join(["# Shared by all rooms\n", *shared])}


def on_config(config: MkDocsConfig, **kwargs: Any) -> MkDocsConfig:
    """Put the pages into the navigation, under API."""
    api: List[Any] = [{Path(page).stem: page} for page in api_pages()]
    config.nav = [*(config.nav or []), {"API": api}]
    return config


def on_files(files: Files, config: MkDocsConfig, **kwargs: Any) -> Files:
    """Add the pages to the files of the site."""
    for page, text in api_pages().items():
        files.append(File.generated(config, page, content=text))
    return files
