"""The signature of a handler: `(event)` or `(event, ctx)`, and the Settings that the second one names.

The rule easiest to break: annotations may be text, or name what exists for type checkers only, so they are
read late and one at a time.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from receiver.errors import PluginError
from receiver.plugins.checks import described
from receiver.plugins.context import Context
from receiver.plugins.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_function(function: Callable[..., object]) -> None:
    """Raise a PluginError unless it is a function that takes an event, or an event and a context."""
    if not inspect.isfunction(function):
        raise PluginError(f"on(...) goes above a function, found {described(function)}.")
    name = function.__name__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{name} has a yield in it, so calling it would do nothing; write it without.")
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        raise PluginError(
            f"{name} is a method of {owner}; on(...) marks functions at the top level of a file."
        )
    parameters = _parameters(function)
    unusable = [
        p
        for p in parameters
        if p.kind is p.VAR_POSITIONAL or (p.kind is p.KEYWORD_ONLY and p.default is p.empty)
    ]
    if unusable or len(_positional(function)) not in {1, 2}:
        found = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
        raise PluginError(f"a handler takes (event) or (event, ctx), found {name}({found}).")


def takes_context(function: Callable[..., object]) -> bool:
    """Whether a handler has a second parameter."""
    return len(_positional(function)) > 1


def settings_class_of(function: Callable[..., object]) -> type[Settings]:
    """The class named in `ctx: Context[MySettings]`; `Settings` itself for a bare `Context`, or no context.

    Raises:
        PluginError: the annotation is something else, or names what does not exist.
    """
    if not takes_context(function):
        return Settings
    parameter = _positional(function)[1]
    annotation = _evaluated(parameter, inspect.unwrap(function).__globals__)
    if annotation in (parameter.empty, Context, Any):
        return Settings
    named = get_args(annotation)[0] if get_origin(annotation) is Context else None
    if isinstance(named, type) and issubclass(named, Settings):
        return named
    raise PluginError(
        f"the second parameter of {function.__name__} is a Context, but {parameter.name} is annotated "
        f"as {inspect.formatannotation(annotation)}; write {parameter.name}: Context, or Context[MySettings] "
        "with class MySettings(Settings)."
    )


def _evaluated(parameter: inspect.Parameter, namespace: dict[str, Any]) -> Any:
    """What an annotation means in its file, where the import of `receiver` may be for type checkers only."""
    text = getattr(parameter.annotation, "__forward_arg__", parameter.annotation)
    if not isinstance(text, str):
        return text
    vocabulary = {"Context": Context, "Settings": Settings}
    try:
        return eval(text, vocabulary | namespace)  # noqa: S307 -- the plugin's own code, which has just been run
    except Exception as error:
        raise PluginError(
            f"cannot read the annotation {parameter.name}: {text} ({error}); import or define what it names "
            "at the top level of the file, outside of `if TYPE_CHECKING`."
        ) from error


def _positional(function: Callable[..., object]) -> list[inspect.Parameter]:
    return [p for p in _parameters(function) if p.kind in _POSITIONAL]


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    if sys.version_info >= (3, 14):  # annotations are evaluated when asked for
        import annotationlib  # noqa: PLC0415 -- new in 3.14

        signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    else:
        signature = inspect.signature(function)
    return list(signature.parameters.values())
