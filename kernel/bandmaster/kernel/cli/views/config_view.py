"""Render settings as text for people, as JSON for programs, and as a ``.env`` file. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from bandmaster.kernel.cli.views.outline import Line, Section
from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.redaction.masking import masked
from bandmaster.kernel.settings.display import Setting


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting with the current value."""

    setting: Setting
    value: str | None
    """The value as text, masked if secret; None for a setting that can't be read."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The settings of one type."""

    name: str
    owner: str
    """The parts that read the settings, with their distributions."""
    settings: tuple[Shown, ...]
    problems: tuple[str, ...] = ()
    """The problems of the whole type, which no single setting has."""

    @property
    def is_wrong(self) -> bool:
        """Whether the type can't be read."""
        return bool(self.problems) or any(shown.problem for shown in self.settings)


def render_config_text(groups: Iterable[Group]) -> Iterator[Section]:
    """Settings as sections, one for each type."""
    for group in groups:
        lines = [Line(f"! {masked(problem)}", style="bold red") for problem in group.problems]
        lines += [_describe_setting(shown) for shown in group.settings]
        yield Section(group.name, group.owner, tuple(lines))


def _describe_setting(shown: Shown) -> Line:
    setting = shown.setting
    value = "(not set)" if shown.value is None and setting.required else shown.value
    facts = [setting.kind, "required" if setting.required else ""]
    if not setting.required and not _is_same(shown.value, setting.default):
        facts.append(f"default {setting.default}" if setting.default else "empty by default")
    below = [Line(f"! {masked(shown.problem)}", style="bold red")] if shown.problem else []
    below += [Line(setting.description, style="dim")] if setting.description else []
    text = setting.variable if value is None else f"{setting.variable} = {value}".rstrip()
    return Line(text, f"({', '.join(filter(None, facts))})", tuple(below), "bold")


def render_setting_kind(setting: Setting) -> str:
    """The type of a setting in plain words."""
    if setting.is_named_values:
        return f"name={render_kind(get_args(setting.annotation)[1])}, comma separated"
    return render_kind(setting.annotation)


def render_kind(annotation: Any) -> str:
    """A type in plain words: ``int``, ``a | b`` for literals, ``list of str``, ``int or unset``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return render_kind(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        texts = [render_kind(argument) for argument in arguments if argument is not NoneType]
        return " or ".join([*texts, "unset"] if NoneType in arguments else texts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"JSON object of {render_kind(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"list of {render_kind(arguments[0])}"
    return type_name(annotation)


def _is_same(value: str | None, default: str) -> bool:
    try:
        return value == default or (value is not None and float(value) == float(default))  # 30.0 as 30
    except ValueError:
        return False


def render_config_json(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Settings as JSON, one object for each type."""
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


def render_env_lines(groups: Sequence[Group]) -> Iterator[str]:
    """An example of a ``.env`` file: required settings first, then the others as comments with their defaults."""
    yield "# Settings of this application. Copy to .env, fill in, and keep it out of version control."
    if any(shown.setting.required for group in groups for shown in group.settings):
        yield from ("", "# -- required ".ljust(74, "-"))
    for group in groups:
        for shown in group.settings:
            if shown.setting.required:
                yield from ("", *_render_comment(shown.setting), f"{shown.setting.variable}=")
    for group in groups:
        yield from ("", f"# -- {group.name}: {group.owner} ".ljust(74, "-"))
        for shown in group.settings:
            if not shown.setting.required:
                yield from ("", *_render_comment(shown.setting), _render_default(shown.setting))


def _render_comment(setting: Setting) -> Iterator[str]:
    if setting.description:
        yield f"# {setting.description}"
    yield f"# {setting.kind}{', secret' if setting.secret else ''}"


def _render_default(setting: Setting) -> str:
    """The line that means the default, once the line is no comment any more."""
    if setting.shows_default:
        return f"#{setting.variable}={_quote(setting.default)}"
    # A blank after the sign tells that the line is text: an empty value isn't the default of every secret.
    return f"#{setting.variable}=" if setting.empty_is_unset else f"# {setting.variable} has a default that isn't shown"


def _quote(value: str) -> str:
    if all(character.isalnum() or character in "_-+./:,@%*" for character in value):
        return value
    if "'" in value and not any(character in value for character in '"$`\\\n\r'):
        return f'"{value}"'  # as a shell reads it, too
    # Between single quotes, ${...} stands for itself.
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
