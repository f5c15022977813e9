"""What can be set about a Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, StringConstraints, field_serializer, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.contrib.redis.address import Address, parse_address

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# What the server takes for a name: letters, digits and signs, but neither blanks nor line ends.
_Name = Annotated[str, StringConstraints(pattern=r"^[!-~]*$")]

_TLS = ("tls_ca_file", "tls_cert_file", "tls_key_file")
_SENTINEL = ("sentinel_username", "sentinel_password")


class RedisSettings(BaseSettings):
    """Settings of a Redis client, read from variables that begin with ``REDIS_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="REDIS_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    url: str = Field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        description="Where Redis is: redis://user:password@host:6379/0, rediss://... for TLS, "
        "unix:///run/redis.sock?db=0, redis+sentinel://host1:26379,host2:26379/master/0 or rediss+sentinel://...",
    )

    max_connections: int = Field(default=10, ge=1, description="Connections that the pool may hold at most.")
    pool_timeout: _Seconds = Field(default=5, description="Seconds to wait for a connection of a full pool.")
    connect_timeout: _Seconds = Field(default=5, description="Seconds in which a connection must be there.")
    socket_timeout: _Seconds = Field(
        default=5,
        description="Seconds that an answer may take; commands that block (BLPOP, XREAD) must block for less.",
    )
    health_check_interval: _MaybeSeconds = Field(
        default=30, description="Seconds of rest after which a connection is asked whether it lives; 0: it never is."
    )

    retries: int = Field(
        default=3,
        ge=0,
        description="How often a command is tried again whose connection was lost or too slow; 0: never. One that was "
        "carried out and whose answer was lost is then carried out twice.",
    )
    backoff_base: _Seconds = Field(default=0.05, description="Seconds that the first pause between tries is around.")
    backoff_cap: _Seconds = Field(default=1, description="Seconds that a pause between tries takes at most.")

    probe_timeout: Annotated[float, Field(gt=0, le=4)] = Field(
        default=2, description="Seconds in which the health check must have its answer, 4 at most."
    )
    critical: bool = Field(default=True, description="Whether readiness is lost while Redis doesn't answer.")
    client_name: _Name = Field(
        default="bandmaster",
        description="What CLIENT LIST calls the connections; the health check's has -probe after it. Empty: nothing, "
        "for users who mayn't say their name.",
    )

    tls_ca_file: Path | None = Field(
        default=None, description="Certificates that the server's must be signed by. Unset: those of the system."
    )
    tls_cert_file: Path | None = Field(default=None, description="The client's own certificate.")
    tls_key_file: Path | None = Field(
        default=None, description="The key of the client's certificate, where it isn't in the same file."
    )
    tls_check_hostname: bool = Field(default=True, description="Whether the certificate must be for the host's name.")

    sentinel_username: str | None = Field(default=None, description="The user at the sentinels, where they have users.")
    sentinel_password: SecretStr | None = Field(default=None, description="The password of the sentinels.")

    @field_validator("url", mode="after")
    @classmethod
    def _usable(cls, value: str) -> str:
        parse_address(value)
        return value.strip()

    @model_validator(mode="after")
    def _agree(self) -> RedisSettings:
        if self.backoff_base > self.backoff_cap:
            raise ValueError("backoff_base: a first pause above backoff_cap would never be taken")
        if not self.address.tls and (name := self._first_set(_TLS)):
            raise ValueError(f"{name}: url isn't spoken to by TLS; its scheme would be rediss or rediss+sentinel")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file: is the key of a certificate, which tls_cert_file doesn't name")
        if not self.address.by_sentinel and (name := self._first_set(_SENTINEL)):
            raise ValueError(f"{name}: url names no sentinels; its scheme would be redis+sentinel")
        return self

    @field_serializer("url")
    def _without_password(self, value: str) -> str:
        userinfo, separator, rest = value.rpartition("@")
        if not separator:
            return value
        scheme, _, user = userinfo.partition("://")
        name, colon, _ = user.partition(":")
        return f"{scheme}://{name}{':***' if colon else ''}@{rest}"

    @property
    def address(self) -> Address:
        """Where it is; shown without the password."""
        return parse_address(self.url)

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that sets a field, as errors name it."""
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()

    @property
    def connections(self) -> int:
        """How many connections one process may hold: the pool's, and the health check's own."""
        return self.max_connections + 1

    def _first_set(self, fields: tuple[str, ...]) -> str | None:
        return next((name for name in fields if getattr(self, name) is not None), None)
