"""What all pictures share: a guard for libraries that are missing, a figure with a font for its texts, saving whole.

Needs the extra `plots`, and nothing of matplotlib's global state but the font family where Chinese is drawn.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Iterable, Optional, Union

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.outputs import SIGNATURE

DPI = 150
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def require_plots(*modules: str) -> None:
    """Raise ClinicalNerError, with the command that helps, if one of these modules cannot be imported."""
    for module in modules:
        optional_module(module)


def optional_module(name: str) -> ModuleType:
    """Import a module of the extra `plots`. Raises ClinicalNerError as `require_plots`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ClinicalNerError(
            f"plots need {package}, which is not installed: pip install 'spacy-clinical-ner[plots]', or pass --no-plots"
        ) from None


def new_figure(width: float, height: float, texts: Iterable[str] = ()) -> Any:
    """A figure (inches) outside pyplot's global state; with a Chinese font if the texts need one and it is there."""
    figure = optional_module("matplotlib.figure").Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    text = "".join(texts)
    font = find_cjk_font(text) if has_cjk(text) else None
    if font is not None:
        family = optional_module("matplotlib.font_manager").FontProperties(fname=font).get_name()
        optional_module("matplotlib").rcParams["font.family"] = [family, "DejaVu Sans"]
    return figure


def save_figure(figure: Any, path: Union[str, Path]) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata=SIGNATURE)


def has_cjk(text: str) -> bool:
    """Whether there is a Chinese or Japanese character in it."""
    return _CJK.search(text) is not None


def find_cjk_font(text: str) -> Optional[str]:
    """File of a font on this machine that has all Chinese and Japanese characters of `text`, or None."""
    needed = {ord(sign) for sign in _CJK.findall(text)}
    manager = optional_module("matplotlib.font_manager")
    for file in sorted({font.fname for font in manager.fontManager.ttflist}):
        if "LastResort" in Path(file).name:  # matplotlib's own: claims all of Unicode, draws boxes
            continue
        try:
            known = manager.get_font(file).get_charmap()
        except (OSError, RuntimeError):  # a font file that FreeType cannot read
            continue
        if needed <= known.keys():
            return file
    return None
