"""Settings of a Redis client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, StringConstraints, field_serializer, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.redis.address import Address, parse_address
from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# The server takes letters, digits and signs in a name, but neither blanks nor line ends.
_Name = Annotated[str, StringConstraints(pattern=r"^[!-~]*$")]

_TLS = ("tls_ca_file", "tls_cert_file", "tls_key_file")
_SENTINEL = ("sentinel_username", "sentinel_password")


class RedisSettings(Settings):
    """Settings of a Redis client, read from variables that begin with ``REDIS_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="REDIS_")

    url: str = Field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        description="Where Redis is: redis://user:password@host:6379/0, rediss://... for TLS, "
        "unix:///run/redis.sock?db=0, redis+sentinel://host1:26379,host2:26379/master/0 or rediss+sentinel://...",
    )

    max_connections: int = Field(default=10, ge=1, description="The most connections of the pool.")
    pool_timeout: _Seconds = Field(default=5, description="Seconds to wait for a connection of a full pool.")
    connect_timeout: _Seconds = Field(default=5, description="Seconds to connect.")
    socket_timeout: _Seconds = Field(
        default=5,
        description="Seconds to wait for an answer; commands that block (BLPOP, XREAD) must block for less.",
    )
    health_check_interval: _MaybeSeconds = Field(
        default=30, description="Seconds without use after which a connection is checked before its next use; 0: never."
    )

    retries: int = Field(
        default=3,
        ge=0,
        description="How often a command is retried after a lost connection or a timeout; 0: never. A command that ran "
        "before its answer was lost runs twice.",
    )
    backoff_base: _Seconds = Field(default=0.05, description="Seconds of the first pause between attempts, on average.")
    backoff_cap: _Seconds = Field(default=1, description="The longest pause between attempts, in seconds.")

    probe_timeout: Annotated[float, Field(gt=0, le=4)] = Field(
        default=2, description="Seconds for the health check to have an answer, 4 at most."
    )
    critical: bool = Field(
        default=True, description="Whether the application can't start, and isn't ready, while Redis doesn't answer."
    )
    client_name: _Name = Field(
        default="bandmaster",
        description="The name of the connections in CLIENT LIST; the health check's ends in -probe. Empty: no name, "
        "for users without the right to CLIENT SETNAME.",
    )

    tls_ca_file: Path | None = Field(
        default=None, description="The certificates of trusted authorities. Unset: those of the system."
    )
    tls_cert_file: Path | None = Field(default=None, description="The client's own certificate.")
    tls_key_file: Path | None = Field(
        default=None, description="The key of the client's certificate, where it isn't in the same file."
    )
    tls_check_hostname: bool = Field(default=True, description="Whether the certificate must name the host.")

    sentinel_username: str | None = Field(default=None, description="The user for the sentinels, if they have users.")
    sentinel_password: SecretStr | None = Field(default=None, description="The password of the sentinels.")

    @field_validator("url", mode="after")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parse_address(value)
        return value.strip()

    @model_validator(mode="after")
    def _check_together(self) -> RedisSettings:
        if self.backoff_base > self.backoff_cap:
            raise ValueError("backoff_base: must not be above backoff_cap")
        if not self.address.tls and (name := self._first_set(_TLS)):
            raise ValueError(f"{name}: url doesn't use TLS; its scheme would be rediss or rediss+sentinel")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file: needs tls_cert_file, the certificate of the key")
        if not self.address.by_sentinel and (name := self._first_set(_SENTINEL)):
            raise ValueError(f"{name}: url names no sentinels; its scheme would be redis+sentinel")
        return self

    @field_serializer("url")
    def _mask_password(self, value: str) -> str:
        userinfo, separator, rest = value.rpartition("@")
        if not separator:
            return value
        scheme, _, user = userinfo.partition("://")
        name, colon, _ = user.partition(":")
        return f"{scheme}://{name}{':***' if colon else ''}@{rest}"

    @property
    def address(self) -> Address:
        """The parsed URL. Its text has no password."""
        return parse_address(self.url)

    @property
    def connections(self) -> int:
        """The most connections that one process may open: the pool's, and one for the health check."""
        return self.max_connections + 1

    def _first_set(self, fields: tuple[str, ...]) -> str | None:
        return next((name for name in fields if getattr(self, name) is not None), None)
