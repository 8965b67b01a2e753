"""Registered functions whose settings are those of a class or of another function, so that each stands in one place."""

from functools import wraps
from inspect import Parameter, signature
from typing import Any, Callable, Dict, List, Sequence, Type, TypeVar, get_type_hints

from spacy.language import Language
from thinc.api import Config, Model

from spacy_clinical_ner.bridge.trainable import TrainableComponent

Function = TypeVar("Function", bound=Callable)


def component_factory(
    name: str,
    component: Type[TrainableComponent],
    *,
    config: str,
    assigns: Sequence[str],
    score_weights: Dict[str, Any],
) -> Callable[..., TrainableComponent]:
    """Register a component that is made by `component(vocab, model, name, **settings)`, and return its factory.

    config: defaults as text, [model] among them, that are written in the notation of configs; they go before those of
    the constructor. assigns, score_weights: see `Language.factory`.
    """
    settings = constructor_settings(component)

    def make(nlp: Language, name: str, model: Model, **given: Any) -> TrainableComponent:
        return component(nlp.vocab, model, name, **given)

    kind = Parameter.KEYWORD_ONLY
    first = [
        Parameter(key, kind, annotation=what) for key, what in (("nlp", Language), ("name", str), ("model", Model))
    ]
    # spaCy and its config system look here for the names and types of what a config may set.
    make.__signature__ = signature(make).replace(parameters=[*first, *settings])  # type: ignore[attr-defined]
    make.__name__ = make.__qualname__ = f"make_{name}"
    make.__doc__ = component.__doc__
    defaults = {each.name: each.default for each in settings if each.default is not Parameter.empty}
    lists = {key: list(value) for key, value in defaults.items() if isinstance(value, tuple)}
    register = Language.factory(
        name,
        assigns=list(assigns),
        default_config={**defaults, **lists, **Config().from_str(config)},
        default_score_weights=score_weights,
    )
    return register(make)


def constructor_settings(component: type) -> List[Parameter]:
    """The keyword-only parameters of a constructor; `**settings` in it stands for those of the next base class."""
    found: Dict[str, Parameter] = {}
    for cls in component.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = signature(vars(cls)["__init__"]).parameters.values()
        for each in parameters:
            if each.kind is Parameter.KEYWORD_ONLY:
                found.setdefault(each.name, each)
        if not any(each.kind is Parameter.VAR_KEYWORD for each in parameters):
            break
    return list(found.values())


def takes_settings_of(source: Callable, *without: str) -> Callable[[Function], Function]:
    """A decorator: `**settings` of a function stands for the parameters of `source` that it does not have itself.

    source: a function, a class or a NamedTuple; its defaults are passed on. without: those that no config sets.
    """
    described = source if hasattr(source, "_fields") or not isinstance(source, type) else vars(source)["__init__"]
    hints = get_type_hints(described)

    def decorate(function: Function) -> Function:
        own = [each for each in signature(function).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        taken = {*without, *(each.name for each in own)}
        settings = [
            each.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints.get(each.name, each.annotation))
            for each in signature(source).parameters.values()
            if each.name not in taken
        ]
        defaults = {each.name: each.default for each in settings if each.default is not Parameter.empty}

        @wraps(function)
        def with_defaults(*args: Any, **given: Any) -> Any:
            return function(*args, **{**defaults, **given})

        # The config system looks here for the names, types and defaults of what a config may set.
        with_defaults.__signature__ = signature(function).replace(parameters=[*own, *settings])  # type: ignore
        return with_defaults  # type: ignore[return-value]

    return decorate
