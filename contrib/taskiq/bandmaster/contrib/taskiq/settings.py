"""What can be set about tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bandmaster.contrib.redis import RedisSettings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Name = Annotated[str, StringConstraints(pattern=r"^[!-~]+$")]

DATABASE = 1
"""The database of a URL that names none: 0 is the cache's."""


class TaskIQRedis(RedisSettings):
    """How a task queue reaches its Redis: made of `TaskIQSettings` alone, never of the environment."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="TASKIQ_REDIS_")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is made with, and nothing else."""
        return (init_settings,)


class TaskIQSettings(BaseSettings):
    """Settings of the task queue, read from variables that begin with ``TASKIQ_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="TASKIQ_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="The Redis that tasks travel by, as REDIS_URL is written; a URL that names no database means "
        "database 1. Unset: tasks run in the process that sends them, and are lost with it.",
    )
    broker: str | None = Field(
        default=None,
        description="Another broker of TaskIQ's, as module:function; the function takes these settings, and returns it.",
    )
    queue: _Name = Field(default="tasks", description="The queue that tasks are sent to and that a worker works at.")
    stream_prefix: str = Field(
        default="bandmaster:", description="Stands before every key in Redis; with a cluster it needs a {hash tag}."
    )
    consumer_group: _Name = Field(default="workers", description="The consumer group that workers of a queue are in.")

    concurrency: int = Field(default=20, ge=1, description="Tasks that one worker process runs at once.")
    prefetch: int = Field(
        default=20, ge=0, description="Tasks that a worker process holds beside those it runs; 0: others get them."
    )
    threads: int = Field(default=8, ge=1, description="Threads of a worker process for tasks that aren't async.")
    timeout: _Seconds | None = Field(
        default=None,
        description="Seconds that a task may run, unless it says otherwise; unset: for as long as it takes.",
    )

    attempts: int = Field(
        default=5, ge=1, description="How often a task is tried that fails in a way that may pass, the first included."
    )
    backoff: _MaybeSeconds = Field(default=1, description="Seconds before the second attempt; they double with each.")
    longest_backoff: _MaybeSeconds = Field(default=300, description="Seconds between two attempts at most.")
    jitter: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="Part of a pause that is left to chance: of 10 s with 0.5, 5 to 10 are waited."
    )

    lease: Annotated[float, Field(ge=0.5, allow_inf_nan=False)] = Field(
        default=30,
        description="Seconds after which the tasks of a worker that isn't heard of any more are given to another.",
    )
    max_deliveries: int = Field(
        default=3, ge=1, description="How often a task is given out whose workers end before it does."
    )
    keep_results: bool = Field(
        default=True,
        description="Whether results are kept at all; where nobody asks for them, tasks are faster without.",
    )
    result_ttl: _Seconds = Field(default=3600, description="Seconds that a result is kept for.")
    critical: bool = Field(default=True, description="Whether readiness is lost while the queue can't be reached.")
    schedule_interval: _Seconds = Field(
        default=10, description="Seconds after which the scheduler sees schedules that were added meanwhile."
    )

    redis_max_connections: int = Field(default=10, ge=1, description="Connections that a process's pool may hold.")
    redis_connect_timeout: _Seconds = Field(default=5, description="Seconds in which a connection must be there.")
    redis_socket_timeout: _Seconds = Field(default=5, description="Seconds that an answer of Redis may take.")
    redis_tls_ca_file: Path | None = Field(
        default=None, description="Certificates that the server's must be signed by. Unset: those of the system."
    )
    redis_tls_cert_file: Path | None = Field(default=None, description="The client's own certificate.")
    redis_tls_key_file: Path | None = Field(default=None, description="The key of the client's certificate.")
    redis_tls_check_hostname: bool = Field(
        default=True, description="Whether the certificate must be for the host's name."
    )
    redis_sentinel_username: str | None = Field(default=None, description="The user at the sentinels.")
    redis_sentinel_password: SecretStr | None = Field(default=None, description="The password of the sentinels.")

    @field_validator("redis_url", mode="after")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        try:
            return _with_database(TaskIQRedis(url=value).url)
        except ValidationError as error:
            raise ValueError(_said(error)) from None

    @model_validator(mode="after")
    def _agree(self) -> TaskIQSettings:
        if self.backoff > self.longest_backoff:
            raise ValueError("backoff: a first pause above longest_backoff would never be taken")
        if self.redis_url is not None:
            try:
                _ = self.redis  # which says what doesn't fit together
            except ValidationError as error:
                raise ValueError(f"redis_{_said(error)}") from None
        return self

    @field_serializer("redis_url")
    def _without_password(self, value: str | None) -> str | None:
        return None if value is None else str(TaskIQRedis(url=value).model_dump()["url"])

    @property
    def redis(self) -> TaskIQRedis:
        """How Redis is reached.

        Raises:
            ValueError: no ``redis_url`` is set.
        """
        if self.redis_url is None:
            raise ValueError("redis_url: isn't set, so there is no Redis for tasks")
        return TaskIQRedis(
            url=self.redis_url,
            max_connections=self.redis_max_connections,
            connect_timeout=self.redis_connect_timeout,
            socket_timeout=self.redis_socket_timeout,
            tls_ca_file=self.redis_tls_ca_file,
            tls_cert_file=self.redis_tls_cert_file,
            tls_key_file=self.redis_tls_key_file,
            tls_check_hostname=self.redis_tls_check_hostname,
            sentinel_username=self.redis_sentinel_username,
            sentinel_password=self.redis_sentinel_password,
            client_name="bandmaster-tasks",
        )


def _said(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")


def _with_database(url: str) -> str:
    parts = urlsplit(url)
    if parts.query:  # only the database may stand there
        return url
    if parts.scheme.lower() == "unix":
        return f"{url}?db={DATABASE}"
    # The name of the master comes first where sentinels are asked.
    named = [part for part in parts.path.split("/") if part][1 if "+" in parts.scheme else 0 :]
    return url if named else f"{url.rstrip('/')}/{DATABASE}"
