"""A spaCy factory out of a component's constructor, so that each setting, its type and default stand in one place."""

from inspect import Parameter, signature
from typing import Any, Callable, Dict, List, Sequence, Type

from spacy.language import Language
from thinc.api import Config, Model

from spacy_clinical_ner.bridge.trainable import TrainableComponent


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
