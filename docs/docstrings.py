"""A griffe extension: the docstrings of this package in the form that mkdocstrings renders (Google style).

In the sources a docstring is prose. A paragraph may say what parameters are (`name: what it is.`, several to a line),
and sentences what is returned and raised (`Returns ...`, `Raises InputError if ...`). Here such parts become the
sections `Args`, `Attributes`, `Returns` and `Raises`; everything else stays text. Only names that the function or class
has count as parameters, so a colon in prose is left alone.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any, Dict, List, Sequence, Tuple

import griffe

_RAISES = re.compile(r"Raises (?=[A-Z]\w*\b)(.*?\.)(?=\s+[A-Z`]|\s*$)", re.DOTALL)
_RETURNS = re.compile(r"(?:(?<=\. )|(?<=\n)|^)Returns (.*?\.)(?=\s+[A-Z`]|\s*$)", re.DOTALL)
# Between the errors of one sentence: "A if x, B for y, and C where z".
_NEXT_ERROR = re.compile(r"(?:,| and|, and) (?=[A-Z]\w*(?:Error|Failed)\b)")


def split_parameters(paragraph: str, names: Sequence[str]) -> Tuple[str, List[Tuple[str, str]]]:
    """What stands before the first parameter, and (names, description) of each."""
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    if not known:
        return paragraph, []
    start = re.compile(
        rf"(?:(?<=\. )|(?<=\.\n)|(?<=; )|(?<=\), )|(?<=\n)|^)((?:{known})(?:(?:, | and )(?:{known}))*)( \([^)]*\))?: "
    )
    found = list(start.finditer(paragraph))
    if not found:
        return paragraph, []
    ends = [match.start() for match in found[1:]] + [len(paragraph)]
    parts = [
        (match[1], ((match[2] or "").strip() + " " + paragraph[match.end() : end]).strip(" ;\n"))
        for match, end in zip(found, ends)
    ]
    return paragraph[: found[0].start()], parts


def to_google(docstring: str, parameters: Sequence[str], attributes: Sequence[str] = ()) -> str:
    """The docstring with its sections, after all that is text."""
    sections: Dict[str, List[Tuple[str, str]]] = {"Args": [], "Attributes": [], "Returns": [], "Raises": []}
    text = []
    for paragraph in docstring.split("\n\n"):
        for match in _RAISES.finditer(paragraph):
            sections["Raises"] += [_error(one) for one in _NEXT_ERROR.split(match[1])]
        # What follows the sentence is no part of the parameter before it.
        for piece in _RAISES.sub("\0", paragraph).split("\0"):
            if text:  # the first line may say what a function returns, and is then its summary
                sections["Returns"] += [("", match[1]) for match in _RETURNS.finditer(piece)]
                piece = _RETURNS.sub("", piece)
            before, found = split_parameters(piece.strip("\n"), [*parameters, *attributes])
            for names, description in found:
                for name in re.split(r", | and ", names):
                    sections["Args" if name in parameters else "Attributes"].append((name, description))
            text.append(before.strip())
    parts = [paragraph for paragraph in text if paragraph]
    parts += [f"{title}:\n{_items(items)}" for title, items in sections.items() if items]
    return "\n\n".join(parts)


def _error(words: str) -> Tuple[str, str]:
    name, _, why = words.strip().partition(" ")
    return name.strip(".,:;"), f"{why.rstrip('.')}." if why else "see above."


def _items(items: Sequence[Tuple[str, str]]) -> str:
    lines = []
    for name, description in items:
        flowing = " ".join(description.split())
        lines.append(f"{name}: {flowing}" if name else flowing)
    return textwrap.indent("\n".join(lines), "    ")


class ProseDocstrings(griffe.Extension):
    """Rewrites the docstrings of functions and classes when a package has been loaded; the sources stay as they are."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        self._rewrite(pkg)

    def _rewrite(self, found: griffe.Object) -> None:
        for member in found.members.values():
            if member.is_alias:
                continue
            if member.docstring and (member.is_function or member.is_class):
                member.docstring.value = to_google(member.docstring.value, *_names(member))
            if member.is_module or member.is_class:
                self._rewrite(member)


def _names(member: griffe.Object) -> Tuple[List[str], List[str]]:
    """Names of the parameters of a function, or of a class and of its attributes."""
    parameters = [name.lstrip("*") for name in (parameter.name for parameter in member.parameters) if name != "self"]
    if member.is_function:
        return parameters, []
    return parameters, [name for name, one in member.members.items() if one.is_attribute and name not in parameters]
