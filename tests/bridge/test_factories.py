"""Settings that a registered function takes over from where they stand."""

from inspect import Parameter, signature
from typing import Any, Dict, List, NamedTuple, Optional

import catalogue
import pytest
from confection import Config, ConfigValidationError, registry
from torch import nn

from spacy_clinical_ner.bridge.factories import takes_settings_of


class Sizes(NamedTuple):
    width: int = 3
    names: Optional[List[str]] = None


class Layer(nn.Module):
    def __init__(self, rows: int, width: "int" = 4, share: bool = True) -> None:
        super().__init__()


@takes_settings_of(Sizes)
def build(first: str, width: int = 8, **settings: Any) -> Dict[str, Any]:
    """What was given."""
    return {"first": first, "width": width, **settings}


@takes_settings_of(build, "first")
def build_again(**settings: Any) -> Dict[str, Any]:
    return build("again", **settings)


@takes_settings_of(Layer, "rows")
def build_layer(**settings: Any) -> Dict[str, Any]:
    return settings


def test_names_types_and_defaults_are_those_of_the_source() -> None:
    found = signature(build).parameters
    assert list(found) == ["first", "width", "names"]
    assert found["width"].default == 8, "its own setting goes before that of the source"
    assert (found["names"].annotation, found["names"].default) == (Optional[List[str]], None)
    assert list(signature(build_again).parameters) == ["width", "names"]
    assert [(each.annotation, each.default, each.kind) for each in signature(build_layer).parameters.values()] == [
        (int, 4, Parameter.KEYWORD_ONLY), (bool, True, Parameter.KEYWORD_ONLY),
    ]  # fmt: skip
    assert (build.__name__, build.__doc__) == ("build", "What was given.")


def test_defaults_of_the_source_are_passed_on() -> None:
    assert build("one") == {"first": "one", "width": 8, "names": None}
    assert build_again(names=["a"]) == {"first": "again", "width": 8, "names": ["a"]}
    assert build_layer(share=False) == {"width": 4, "share": False}


def test_the_config_system_knows_the_settings() -> None:
    class Registry(registry):
        things = catalogue.create("spacy_clinical_ner_tests", "things")

    Registry.things("build", func=build)
    block: Dict[str, Any] = {"@things": "build", "first": "x", "names": ["a"]}
    assert Registry.resolve(Config({"thing": block}))["thing"] == {"first": "x", "width": 8, "names": ["a"]}
    assert Registry.fill(Config({"thing": block}))["thing"]["width"] == 8
    for wrong in ({"nmaes": []}, {"width": "wide"}):
        with pytest.raises(ConfigValidationError):
            Registry.resolve(Config({"thing": {**block, **wrong}}))
