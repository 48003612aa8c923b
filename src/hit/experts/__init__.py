"""Experts: plugins that turn a decoded clip into rows of numbers, found through the entry points `hit.experts`.

An expert is any class (or function that returns an object) with the attributes of `hit.types.Expert`; its parameters are
the options that a recipe may give. A parameter `name` receives the name under which the recipe lists it.

A class may say of itself, for those who only look at the list, `dim` (where no option changes it), `licence` and
`megabytes` of its weights, `packages` ({module it needs: what to install}) and `hint` (which options to give).
"""

import difflib
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Batched, Expert, Features, Media, Want

log = logging.getLogger(__name__)

DEFAULT: Mapping[str, ExpertConfig] = {
    "appearance": ExpertConfig("appearance"),
    "motion": ExpertConfig("motion"),
    "objects": ExpertConfig("objects"),
    "sound": ExpertConfig("sound"),
}


@dataclass(frozen=True)
class Description:
    """What is known of a kind of expert before one is made."""

    name: str
    module: str
    package: str
    default: bool  # does `hit extract` take it where nothing is said
    dim: int | None  # None: it depends on the options
    licence: str  # of its weights
    megabytes: float | None  # of its weights
    ready: bool  # can it be made here without any option
    lacks: str  # what to install or to give, else empty


def describe() -> Iterator[Description]:
    """Describe the kinds of experts that are installed, without making one; a broken one says what it lacks."""
    for name, entry in available().items():
        try:
            plugin = _plugin(name, entry)
            lacks = _lacks(plugin)
        except UserError as error:
            plugin, lacks = None, error.fix
        dim, megabytes = getattr(plugin, "dim", None), getattr(plugin, "megabytes", None)
        yield Description(
            name,
            entry.module,
            entry.dist.name if entry.dist else "",
            name in DEFAULT,
            dim if isinstance(dim, int) else None,
            str(getattr(plugin, "licence", "")),
            float(megabytes) if isinstance(megabytes, int | float) else None,
            not lacks,
            lacks,
        )


def available() -> dict[str, EntryPoint]:
    """Return the kinds of experts that are installed."""
    return {entry.name: entry for entry in sorted(entry_points(group="hit.experts"))}


def load(name: str, config: ExpertConfig) -> Expert:
    """Make the expert that a recipe calls `name`. Raises UserError for a kind or an option that there is not."""
    what, kind, known = f"expert '{name}'", config.kind or name, available()
    if kind not in known:
        near = difflib.get_close_matches(kind, known, 1)
        raise UserError(what, f"there is no kind '{kind}'", _advice(near, list(known)))
    entry = known[kind]
    plugin = _plugin(what, entry)
    expert = plugin(**_options(what, name, plugin, config.options))
    if not isinstance(expert, Expert):
        raise UserError(what, f"the plugin '{entry.value}' is not an expert", "it needs name, dim, identity, wants and extract")
    if expert.name != name:
        raise UserError(what, f"the plugin calls itself '{expert.name}'", "list it in the recipe under that name")
    return expert


def load_all(configs: Mapping[str, ExpertConfig]) -> dict[str, Expert]:
    """Make all experts of a recipe."""
    return {name: load(name, config) for name, config in configs.items()}


def want_gpus(configs: Mapping[str, ExpertConfig]) -> bool:
    """Say whether any of them is to work on a GPU."""
    return any(str(config.options.get("device", "")).startswith("cuda") for config in configs.values())


def wants(experts: Mapping[str, Expert]) -> tuple[Want, ...]:
    """Return all that the experts ask for, each once."""
    return tuple(dict.fromkeys(want for expert in experts.values() for want in expert.wants))


def run(experts: Mapping[str, Expert], media: Media) -> dict[str, Features]:
    """Show a clip to the experts; those to whom it means nothing are left out. Raises ValueError for a faulty expert."""
    looked = {name: _checked(expert, expert.extract(media)) for name, expert in experts.items()}
    return {name: features for name, features in looked.items() if features is not None}


def run_many(experts: Mapping[str, Expert], medias: Sequence[Media]) -> list[dict[str, Features] | Exception]:
    """Return for each clip what `run` would, or the exception that it would raise; batched experts see all clips at once."""
    outcomes: list[dict[str, Features] | Exception] = [{} for _ in medias]
    for name, expert in experts.items():
        whole = [(at, found) for at, found in enumerate(outcomes) if isinstance(found, dict)]
        for (at, found), features in zip(whole, _look(expert, [medias[at] for at, _ in whole]), strict=True):
            if isinstance(features, Exception):
                outcomes[at] = features
            elif features is not None:
                found[name] = features
    return outcomes


def _look(expert: Expert, medias: Sequence[Media]) -> list[Features | Exception | None]:
    """Show clips to an expert, together if it can; where that fails each alone, so that one clip's failure is its own."""
    if isinstance(expert, Batched) and len(medias) > 1:
        try:
            return [_checked(expert, features) for _, features in zip(medias, expert.extract_many(medias), strict=True)]
        except Exception as error:  # whosever clip it is: looking at each alone tells
            log.warning("expert '%s' looks at %d clips one by one: %s: %s", expert.name, len(medias), type(error).__name__, error)
    return [_look_alone(expert, media) for media in medias]


def _look_alone(expert: Expert, media: Media) -> Features | Exception | None:
    try:
        return _checked(expert, expert.extract(media))
    except Exception as error:  # plugins are other people's code: what they raise is this clip's outcome
        return error


def _checked(expert: Expert, features: Features | None) -> Features | None:
    """Return what an expert saw. Raises ValueError where it breaks its promises."""
    if features is None:
        return None
    if features.values.shape[1] != expert.dim:
        raise ValueError(f"expert '{expert.name}' yields {features.values.shape[1]} numbers a row and promised {expert.dim}")
    if (features.times[1:, 0] < features.times[:-1, 0]).any():
        raise ValueError(f"expert '{expert.name}' yields rows that are not in the order of time")
    return features


def _plugin(what: str, entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        fix = f"pip install {package.partition('.')[0]}" if package else "install what it needs, or a version that fits"
        raise UserError(what, f"its plugin '{entry.value}' cannot be imported: {error}", fix) from error


def _lacks(plugin: Any) -> str:
    """Say what has to be installed for a plugin, or given to it."""
    missing = [package for module, package in getattr(plugin, "packages", {}).items() if find_spec(module) is None]
    if missing:
        return "pip install " + " ".join(f"'{package}'" for package in missing)
    required = _required(inspect.signature(plugin).parameters) - {"name"}
    return f"give {getattr(plugin, 'hint', ', '.join(sorted(required)))}" if required else ""


def _required(parameters: Mapping[str, inspect.Parameter]) -> set[str]:
    """Return the parameters that have to be given."""
    various = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        name for name, parameter in parameters.items() if parameter.default is parameter.empty and parameter.kind not in various
    }


def _options(what: str, name: str, plugin: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plugin's arguments, checked against its signature."""
    parameters = inspect.signature(plugin).parameters
    arguments = dict(options)
    if "name" in parameters:
        arguments["name"] = name
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option, value in arguments.items():
        if option not in parameters and not open_ended:
            raise UserError(
                what, f"has no option '{option}'", _advice(difflib.get_close_matches(option, parameters, 1), parameters)
            )
        expected = parameters[option].annotation if option in parameters else Any
        if expected is float and type(value) is int:
            arguments[option] = float(value)
        elif expected in (int, float, str, bool) and type(value) is not expected:
            raise UserError(what, f"option '{option}' is {value!r}, not of type {expected.__name__}")
    for option in sorted(_required(parameters) - set(arguments)):
        raise UserError(what, f"lacks the option '{option}'", f"for example experts.{name}.options.{option} = ...")
    return arguments


def _advice(near: list[str], valid: Any) -> str:
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(set(valid) - {'name'}))}"
