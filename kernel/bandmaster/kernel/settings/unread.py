"""Find variables that are set and have no effect, such as misspelt ones. Pure but for the environment."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_origin

from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource

from bandmaster.kernel.settings.base import Settings
from bandmaster.kernel.settings.environment import Environment
from bandmaster.kernel.settings.texts import list_alternatives
from bandmaster.kernel.settings.variables import find_model, list_leaves, variables_of
from bandmaster.kernel.text import find_nearest, join_words

_TEST_KIT = "BANDMASTER_TEST_"
"""The prefix of variables that test kits read, which no running application has."""
_VERY_CLOSE = 0.85
"""The likeness of a name without a known prefix to a whole variable: one or two letters in a dozen differ."""
_SHORTEST = 8
"""Characters; shorter names resemble each other by chance."""
_SHORTEST_BEGINNING = 3
"""Characters; fewer are the beginning of a word by chance."""
# Kubernetes sets these for each service beside a process: REDIS_SERVICE_HOST, REDIS_PORT=tcp://10.0.0.1:6379.
_LINK = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)")
_LINK_URL = re.compile(r"(tcp|udp|sctp)://")


@dataclass(slots=True)
class _Known:
    """The variables of a set of settings types."""

    exact: set[str] = field(default_factory=set[str])
    """Variables whose upper and lower case matters."""
    folded: set[str] = field(default_factory=set[str])
    """All others, in capitals."""
    open_prefixes: set[str] = field(default_factory=set[str])
    """Prefixes, in capitals, of variables with any further name, such as the keys of a mapping."""
    prefixes: set[str] = field(default_factory=set[str])
    """Prefixes of settings types, in capitals."""

    def reads(self, name: str) -> bool:
        """Whether a settings type reads a variable."""
        upper = name.upper()
        return name in self.exact or upper in self.folded or upper.startswith(tuple(self.open_prefixes))

    def add(self, kind: type[BaseSettings]) -> None:
        """Add the variables of a type."""
        target = self.exact if kind.model_config.get("case_sensitive") else self.folded
        delimiter = kind.model_config.get("env_nested_delimiter")
        prefix = str(kind.model_config.get("env_prefix") or "")
        if prefix:
            self.prefixes.add(prefix.upper())
        for name, info in kind.model_fields.items():
            variables = variables_of(kind, name)
            target.update(variables)
            leaves = list_leaves(kind, name)
            for leaf in leaves:
                # A variable may set a model on the way as JSON.
                steps = leaf.variable.split(str(delimiter))
                target.update(str(delimiter).join(steps[: count + 1]) for count in range(len(steps)))
                if _has_open_names(leaf.field.annotation):
                    self.open_prefixes.add(f"{leaf.variable}{delimiter}".upper())
            if delimiter and not leaves and _has_open_names(info.annotation):
                self.open_prefixes.update(f"{variable}{delimiter}".upper() for variable in variables)


def find_unread(
    readers: Collection[type[BaseSettings]],
    others: Iterable[type[BaseSettings]],
    environment: Environment,
    ignored: Collection[str] = (),
) -> list[str]:
    """A warning for each variable that nothing reads, although its name tells that something was meant to.

    The name begins with the prefix of one of the ``readers``, or is nearly the name of a variable that one of them
    reads. ``others`` are further types that may read variables, such as those of the application's own code.
    ``ignored`` are globs of variables that belong to other programs.
    """
    known, elsewhere = _Known(), _Known()
    for kind in readers:
        known.add(kind)
    for kind in others:
        if _reads_environment(kind):
            elsewhere.add(kind)
    warnings: list[str] = list(environment.file.warnings if environment.file else ())
    for name in environment.names:
        if known.reads(name) or elsewhere.reads(name) or _belongs_elsewhere(name, environment, ignored):
            continue
        near = _find_near(name, known)
        if near is None and not name.upper().startswith(tuple(known.prefixes)):
            continue
        place = environment.find_place(name, case_sensitive=True)
        hint = f" Did you mean {near!r}?" if near else ""
        warnings.append(f"{f'{place}: ' if place else ''}{name} is set, and nothing reads it.{hint}")
    return warnings


def find_idle(
    idle: Mapping[type[BaseSettings], str],
    others: Iterable[type[BaseSettings]],
    environment: Environment,
    ignored: Collection[str] = (),
) -> list[str]:
    """A warning for the variables that only some types read, those of parts that a plan leaves out.

    ``idle`` has these types, each with the reason: who is left out, and why. ``others`` are further types that may read
    variables; those among ``idle`` don't count. ``ignored`` are globs of variables that belong to other programs.
    """
    elsewhere = _Known()
    for kind in others:
        if kind not in idle and _reads_environment(kind):
            elsewhere.add(kind)
    names: dict[str, list[str]] = {}
    for kind, reason in idle.items():
        known = _Known()
        known.add(kind)
        for name in environment.names:
            if known.reads(name) and not elsewhere.reads(name) and not _belongs_elsewhere(name, environment, ignored):
                names.setdefault(reason, []).append(name)
    return [
        f"{join_words(found)} {'is' if len(found) == 1 else 'are'} set without effect: {reason}."
        for reason, found in names.items()
    ]


def list_all_kinds() -> list[type[BaseSettings]]:
    """Every settings type in this process, those that the application's own code has defined included."""
    kinds: list[type[BaseSettings]] = [BaseSettings]
    for kind in kinds:  # grows on the way
        kinds += [sub for sub in kind.__subclasses__() if sub not in kinds]
    return kinds[1:]


def _find_near(name: str, known: _Known) -> str | None:
    """The variable that was probably meant."""
    upper = name.upper()
    names = sorted(known.exact | known.folded)
    prefix = max((prefix for prefix in known.prefixes if upper.startswith(prefix)), key=len, default="")
    if prefix:
        # What follows the prefix is compared: the same beginning makes all names alike.
        rests = {one[len(prefix) :]: one for one in names if one.upper().startswith(prefix) and len(one) > len(prefix)}
        near = _find_whole_words(upper[len(prefix) :], rests) or find_nearest(upper[len(prefix) :], rests)
        if near is not None:
            return rests[near]
    candidates = [one for one in names if len(one) >= _SHORTEST and "_" in one]
    return find_nearest(upper, candidates, cutoff=_VERY_CLOSE) if len(name) >= _SHORTEST else None


def _find_whole_words(name: str, known: Iterable[str]) -> str | None:
    """The one known name that has all words of a name, in order, and the fewest others; None if several are equal.

    The last word may be the beginning of a word: ENV means ENVIRONMENT.
    """
    words = _split_words(name)
    found = sorted((len(_split_words(one)), one) for one in known if words and _has_words(_split_words(one), words))
    return found[0][1] if found and (len(found) == 1 or found[0][0] < found[1][0]) else None


def _split_words(name: str) -> list[str]:
    return [word for word in name.upper().split("_") if word]


def _has_words(words: list[str], wanted: list[str]) -> bool:
    """Whether the wanted words stand among the words in order; the last one may be the beginning of a word."""
    left = iter(words)
    *whole, last = wanted
    if not all(word in left for word in whole):
        return False
    return any(word == last or (len(last) >= _SHORTEST_BEGINNING and word.startswith(last)) for word in left)


def _belongs_elsewhere(name: str, environment: Environment, ignored: Collection[str]) -> bool:
    upper = name.upper()
    if upper.startswith(_TEST_KIT) or any(fnmatchcase(upper, glob.upper()) for glob in ignored):
        return True
    value = environment.process.get(name)
    if value is None:
        return False
    return bool(_LINK.fullmatch(upper) or (upper.endswith("_PORT") and _LINK_URL.match(value)))


def _reads_environment(kind: type[BaseSettings]) -> bool:
    """Whether variables are among the sources of a type. One that can't say so counts as a reader."""
    own: Any = kind.settings_customise_sources
    if own.__func__ in (BaseSettings.settings_customise_sources.__func__, Settings.settings_customise_sources.__func__):  # type: ignore[attr-defined]
        return True
    init, variables = InitSettingsSource(kind, init_kwargs={}), EnvSettingsSource(kind)
    try:
        sources = own(kind, init_settings=init, env_settings=variables, dotenv_settings=init, file_secret_settings=init)
    except Exception:  # noqa: BLE001  # code of an application, which reads something else here
        return True
    return any(isinstance(source, EnvSettingsSource) for source in sources)


def _has_open_names(annotation: Any) -> bool:
    """Whether a value may have members of any name, each set by a variable of its own: mappings, and unions of models.

    These are the types that pydantic-settings calls complex.
    """
    kinds = list_alternatives(annotation)
    return any(_has_members(kind) or (len(kinds) > 1 and find_model(kind) is not None) for kind in kinds)


def _has_members(kind: Any) -> bool:
    made = get_origin(kind) or kind
    if not isinstance(made, type):
        return made not in (Literal, Any)  # anything else may stand for a mapping, such as type X = ...
    return is_dataclass(made) or (issubclass(made, Collection) and not issubclass(made, str | bytes))
