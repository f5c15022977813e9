"""Settings of session stores."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.oidc.extras import check_extra
from bandmaster.kernel import MAKE_SECRET, NamedSecrets, Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SessionSettings(Settings):
    """Settings of login sessions, read from variables that begin with ``AUTH_SESSION_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_SESSION_")

    store: Literal["memory", "redis", "sql", "cookie"] = Field(
        default="memory",
        description="Where sessions are kept: in the memory of the process, in Redis (AUTH_REDIS_URL), in the database "
        "(DATABASE_URL), or encrypted in the browser's cookie.",
    )
    keys: NamedSecrets = Field(
        default={},
        repr=False,
        description="The keys that encrypt stored sessions, by id: 2026=secret,2025=secret. The first encrypts, the "
        "others decrypt what they have encrypted.",
    )
    max_sessions: int = Field(
        default=10_000, ge=1, description="Sessions in memory at most; a further one ends the oldest."
    )
    cookie_limit: Annotated[int, Field(ge=512, le=4096)] = Field(
        default=3900,
        description="Bytes of a session in a cookie at most. Browsers drop a cookie of more than 4096 bytes, with its "
        "name and attributes.",
    )
    redis_prefix: str = Field(
        default="{bandmaster:sessions}:",
        description="What the keys of sessions in Redis begin with, with a {hash tag} for clusters.",
    )
    lock_lease: Annotated[float, Field(ge=0.5, allow_inf_nan=False)] = Field(
        default=15, description="Seconds after which the lock of a session is free if its process has died."
    )
    lock_wait: _Seconds = Field(
        default=60, description="Seconds that a request waits for a refresh of its session by another request."
    )
    purge_interval: _Seconds = Field(
        default=600, description="Seconds between two deletions of expired sessions in the database."
    )

    @field_validator("redis_prefix", mode="after")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        return check_hash_tag(value)

    @model_validator(mode="after")
    def _check_together(self) -> SessionSettings:
        if self.store in ("redis", "sql"):
            check_extra(self.store, f"store: {self.store!r}")
        if self.store != "memory" and not self.keys:
            raise ValueError(
                f"keys: sessions in the store {self.store!r} are encrypted, and there is no key; set "
                f"{self.variable('keys')} to 1=secret, with a secret made by {MAKE_SECRET}"
            )
        return self

    @property
    def is_server_side(self) -> bool:
        """Whether the store can end sessions, and may hold refresh tokens."""
        return self.store != "cookie"


def check_hash_tag(prefix: str) -> str:
    """Check that a prefix of keys puts all of them into one slot of a cluster (Redis cluster specification).

    Raises:
        ValueError: the prefix has no hash tag.
    """
    _, opening, rest = prefix.partition("{")
    tag, closing, _ = rest.partition("}")
    if not (opening and closing and tag):
        raise ValueError("expected a text with a hash tag, such as {shop}:, so that all keys are in one slot")
    return prefix
