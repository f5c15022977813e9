"""The settings of the task queue."""

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
from bandmaster.contrib.taskiq.validation_errors import render_first_reason
from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Name = Annotated[str, StringConstraints(pattern=r"^[!-~]+$")]

DATABASE = 1
"""The database of a URL that names none. Database 0 is the cache's."""


class TaskIQRedis(RedisSettings):
    """How the task queue connects to Redis. Made from `TaskIQSettings` only, never from the environment."""

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
        """The constructor's arguments are the only source."""
        return (init_settings,)


class TaskIQSettings(Settings):
    """Settings of the task queue, read from variables that begin with ``TASKIQ_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="TASKIQ_")

    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="The Redis that holds the queue, written as REDIS_URL is; a URL that names no database means "
        "database 1. Unset: tasks run in the process that sends them, and are lost with it.",
    )
    broker: str | None = Field(
        default=None,
        description="Another TaskIQ broker, as module:function; it gets these settings and returns the broker.",
    )
    queue: _Name = Field(default="tasks", description="The queue that tasks are sent to and that workers consume.")
    stream_prefix: str = Field(
        default="bandmaster:", description="The prefix of every key in Redis; a cluster needs a {hash tag} in it."
    )
    consumer_group: _Name = Field(default="workers", description="The consumer group of the queue's workers.")

    concurrency: int = Field(default=20, ge=1, description="Tasks that one worker process runs at once.")
    prefetch: int = Field(
        default=20,
        ge=0,
        description="Messages that a worker process holds beside the tasks that it runs; 0: other workers get them.",
    )
    threads: int = Field(default=8, ge=1, description="Threads of a worker process for tasks that aren't async.")
    timeout: _Seconds | None = Field(
        default=None,
        description="Seconds that a task may run unless it has a timeout of its own; unset: as long as needed.",
    )

    attempts: int = Field(
        default=5, ge=1, description="Attempts of a task that fails with a transient error, the first included."
    )
    backoff: _MaybeSeconds = Field(
        default=1, description="Seconds before the second attempt, doubled for each further one."
    )
    longest_backoff: _MaybeSeconds = Field(default=300, description="The most seconds between two attempts.")
    jitter: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="The random part of a pause: of 10 s with 0.5, 5 to 10 are waited."
    )

    lease: Annotated[float, Field(ge=0.5, allow_inf_nan=False)] = Field(
        default=30,
        description="Seconds after which the messages of a worker that no longer renews its leases are redelivered.",
    )
    max_deliveries: int = Field(
        default=3, ge=1, description="Deliveries of a message whose workers die before its task ends."
    )
    keep_results: bool = Field(
        default=True,
        description="Whether results are stored; tasks are faster without, if no code reads results.",
    )
    result_ttl: _Seconds = Field(default=3600, description="Seconds that a result is stored.")
    critical: bool = Field(default=True, description="Whether the process is unready while the queue can't be reached.")
    schedule_interval: _Seconds = Field(
        default=10, description="Seconds between two reads of the schedules that were added at run time."
    )

    redis_max_connections: int = Field(default=10, ge=1, description="The most connections in a process's pool.")
    redis_connect_timeout: _Seconds = Field(default=5, description="Seconds that opening a connection may take.")
    redis_socket_timeout: _Seconds = Field(default=5, description="Seconds that an answer of Redis may take.")
    redis_tls_ca_file: Path | None = Field(
        default=None, description="A file of certificates that may sign the server's. Unset: those of the system."
    )
    redis_tls_cert_file: Path | None = Field(default=None, description="The file of the client's own certificate.")
    redis_tls_key_file: Path | None = Field(
        default=None, description="The file of the key of the client's certificate."
    )
    redis_tls_check_hostname: bool = Field(
        default=True, description="Whether the certificate must be for the host's name."
    )
    redis_sentinel_username: str | None = Field(default=None, description="The user name for the sentinels.")
    redis_sentinel_password: SecretStr | None = Field(default=None, description="The password for the sentinels.")

    @field_validator("redis_url", mode="after")
    @classmethod
    def _check_redis_url(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        try:
            return _add_database(TaskIQRedis(url=value).url)
        except ValidationError as error:
            raise ValueError(render_first_reason(error)) from None

    @model_validator(mode="after")
    def _check_together(self) -> TaskIQSettings:
        if self.backoff > self.longest_backoff:
            raise ValueError("backoff: a first pause above longest_backoff would never be used")
        if self.redis_url is not None:
            try:
                _ = self.redis  # its validators check the TLS and sentinel settings together
            except ValidationError as error:
                raise ValueError(f"redis_{render_first_reason(error)}") from None
        return self

    @field_serializer("redis_url")
    def _mask_password(self, value: str | None) -> str | None:
        return None if value is None else str(TaskIQRedis(url=value).model_dump()["url"])

    @property
    def is_embedded(self) -> bool:
        """Whether the queue is in the memory of the process that sends tasks."""
        return self.redis_url is None and self.broker is None

    @property
    def redis(self) -> TaskIQRedis:
        """The settings of the client of Redis.

        Raises:
            ValueError: ``redis_url`` isn't set.
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


def _add_database(url: str) -> str:
    parts = urlsplit(url)
    if parts.query:  # TaskIQRedis accepts a database there, and nothing else
        return url
    if parts.scheme.lower() == "unix":
        return f"{url}?db={DATABASE}"
    # In a URL of sentinels the first part of the path is the name of the master.
    named = [part for part in parts.path.split("/") if part][1 if "+" in parts.scheme else 0 :]
    return url if named else f"{url.rstrip('/')}/{DATABASE}"
