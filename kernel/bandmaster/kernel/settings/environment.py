"""The variables that settings are read from: those of the process, then those of an env file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel.settings.env_file import EnvFile, read_env_file


class EnvFileSettings(BaseSettings):
    """The env file of a process, for which neither the command line nor the code names one."""

    model_config = SettingsConfigDict(
        env_prefix="BANDMASTER_", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    env_file: Path | None = Field(
        default=None,
        description="A file of lines NAME=value with further variables; those of the process have precedence. The "
        "option --env-file and the argument env_file have precedence over this one.",
    )


@dataclass(frozen=True)
class Environment:
    """The variables of the process, and those of an env file, which count where the process has no such variable."""

    path: Path | None = None
    """The env file, as an absolute path; None for no file."""
    shown: str = ""
    """The path as it was given, for messages."""
    is_from_command_line: bool = False
    """Whether ``--env-file`` names the file, which has precedence over the code."""

    @classmethod
    def choose(cls, env_file: str | os.PathLike[str] | None = None) -> Environment:
        """The environment with the file of the command line, else with ``env_file``, else with the variable's file.

        Raises:
            ValueError: ``env_file`` isn't a path.
        """
        if env_file is not None and not isinstance(env_file, str | os.PathLike):
            raise ValueError(f"env_file: expected the path of a file, got {env_file!r}")
        chosen = _CHOSEN.get()
        if chosen is not None and (chosen.is_from_command_line or env_file is None):
            return chosen
        path = EnvFileSettings().env_file if env_file is None else env_file
        return cls() if path is None else cls(Path(path).absolute(), os.fspath(path))

    @property
    def process(self) -> Mapping[str, str]:
        """The variables of this process."""
        return os.environ

    @cached_property
    def file(self) -> EnvFile | None:
        """The content of the env file, read once.

        Raises:
            PlanError: the file or a line can't be read.
        """
        return None if self.path is None else read_env_file(self.path, self.process, self.shown)

    @property
    def names(self) -> list[str]:
        """The names of all variables, in alphabetical order."""
        return sorted({*self.process, *(self.file.variables if self.file else ())})

    def has(self, name: str, *, case_sensitive: bool = False) -> bool:
        """Whether the process or the file sets a variable."""
        given: list[Mapping[str, object]] = [self.process, *([self.file.variables] if self.file else [])]
        return any(_find_name(variables, name, case_sensitive) for variables in given)

    def find_place(self, name: str, *, case_sensitive: bool = False) -> str:
        """The file and the line that set a variable; empty where the process sets the variable, or nothing does."""
        if self.file is None or _find_name(self.process, name, case_sensitive):
            return ""
        found = _find_name(self.file.variables, name, case_sensitive)
        return self.file.place(found) if found else ""


_CHOSEN: ContextVar[Environment | None] = ContextVar("bandmaster.environment", default=None)


def current_environment() -> Environment:
    """The environment from which settings are read now.

    Raises:
        PlanError: the env file can't be read, once the file is asked for.
    """
    return Environment.choose()


@contextmanager
def use_environment(environment: Environment) -> Iterator[None]:
    """Read settings from an environment until the block ends."""
    token = _CHOSEN.set(environment)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


@contextmanager
def use_command_line_file(path: str) -> Iterator[None]:
    """Read settings from the file of ``--env-file`` until the block ends, whatever file the code names."""
    with use_environment(Environment(Path(path).absolute(), path, is_from_command_line=True)):
        yield


def _find_name(variables: Mapping[str, object], name: str, case_sensitive: bool) -> str | None:
    """The name as the variables spell it."""
    if name in variables:
        return name
    if case_sensitive:
        return None
    return next((other for other in variables if other.upper() == name.upper()), None)
