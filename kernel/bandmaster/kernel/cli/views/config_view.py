"""Settings as people, programs and ``.env`` files read them. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from bandmaster.kernel.cli.views.outline import Line, Section
from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.settings.display import Setting


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting, with what it is now."""

    setting: Setting
    value: str | None
    """Its value as text, a secret masked; none where it can't be read."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The settings of one type."""

    name: str
    owner: str
    """Who reads it, and who brought that."""
    settings: tuple[Shown, ...]
    problems: tuple[str, ...] = ()
    """What is wrong with the whole rather than with one of them."""


def config_sections(groups: Iterable[Group]) -> Iterator[Section]:
    """Settings for people."""
    for group in groups:
        lines = [Line(f"! {problem}", style="bold red") for problem in group.problems]
        lines += [_line(shown) for shown in group.settings]
        yield Section(group.name, group.owner, tuple(lines))


def _line(shown: Shown) -> Line:
    setting = shown.setting
    value = "(not set)" if shown.value is None and setting.required else shown.value
    facts = [setting.kind, "required" if setting.required else ""]
    if not setting.required and not _same(shown.value, setting.default):
        facts.append(f"default {setting.default}" if setting.default else "empty by default")
    below = [Line(f"! {shown.problem}", style="bold red")] if shown.problem else []
    below += [Line(setting.description, style="dim")] if setting.description else []
    said = setting.variable if value is None else f"{setting.variable} = {value}".rstrip()
    return Line(said, f"({', '.join(filter(None, facts))})", tuple(below), "bold")


def kind_text(annotation: Any) -> str:
    """A type as people say it: ``int``, ``a | b`` of literals, ``list of str``, ``int or unset``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_text(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        texts = [kind_text(argument) for argument in arguments if argument is not NoneType]
        return " or ".join([*texts, "unset"] if NoneType in arguments else texts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"JSON object of {kind_text(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"list of {kind_text(arguments[0])}"
    return type_name(annotation)


def _same(value: str | None, default: str) -> bool:
    try:
        return value == default or (value is not None and float(value) == float(default))  # 30.0 as 30
    except ValueError:
        return False


def config_json(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Settings for programs."""
    return [
        {
            "type": group.name,
            "read_by": group.owner,
            "problems": list(group.problems),
            "settings": [
                {
                    "variable": shown.setting.variable,
                    "type": shown.setting.kind,
                    "description": shown.setting.description,
                    "required": shown.setting.required,
                    "default": None if shown.setting.required else shown.setting.default,
                    "secret": shown.setting.secret,
                    "value": shown.value,
                    "problem": shown.problem or None,
                }
                for shown in group.settings
            ],
        }
        for group in groups
    ]


def env_lines(groups: Sequence[Group]) -> Iterator[str]:
    """An example of a ``.env`` file: what is required first and empty, the rest commented out with its default."""
    yield "# Settings of this application. Copy to .env, fill in, and keep it out of version control."
    if any(shown.setting.required for group in groups for shown in group.settings):
        yield from ("", "# -- required ".ljust(74, "-"))
    for group in groups:
        for shown in group.settings:
            if shown.setting.required:
                yield from ("", *_comment(shown.setting), f"{shown.setting.variable}=")
    for group in groups:
        yield from ("", f"# -- {group.name}: {group.owner} ".ljust(74, "-"))
        for shown in group.settings:
            if not shown.setting.required:
                default = "" if shown.setting.secret else shown.setting.default
                yield from ("", *_comment(shown.setting), f"#{shown.setting.variable}={_quoted(default)}")


def _comment(setting: Setting) -> Iterator[str]:
    if setting.description:
        yield f"# {setting.description}"
    yield f"# {setting.kind}{', secret' if setting.secret else ''}"


def _quoted(value: str) -> str:
    if all(character.isalnum() or character in "_-+./:,@%" for character in value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)
