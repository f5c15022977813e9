"""The settings of the spans of tasks, calls and statements."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bandmaster.kernel import Settings


class InstrumentationSettings(Settings):
    """Settings of the spans of tasks, calls and statements, read from variables that begin with ``TRACING_``."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="TRACING_")

    tasks: Literal["child", "link"] = Field(
        default="child",
        description="How a task's span belongs to the sender's: child continues the sender's trace, link begins a "
        "trace for each attempt and links to the sender's span.",
    )
    call_paths: bool = Field(
        default=False,
        description="Whether spans of HTTP calls have the path of the URL. Paths may hold keys, as webhooks' do. "
        "Queries, users and passwords are never in spans.",
    )
    statements: bool = Field(
        default=True,
        description="Whether spans of database statements have the text of the statement, with ? in place of literals.",
    )
    statement_length: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=2000, description="The most characters of a statement's text."
    )
