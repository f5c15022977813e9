"""Settings of API keys."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.oidc.extras import check_extra
from bandmaster.kernel import NamedSecrets, Settings

_DAY = 86_400
_EXTRAS = ("sql", "bcrypt")
"""The values of settings that need the extra of that name."""
_LONGEST = 10 * 365 * _DAY
_TAKEN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "host", "origin", "content-type"})
"""Headers that requests have for other reasons: each value would be refused as a key."""

_Seconds = Annotated[float, Field(ge=0, le=_LONGEST)]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,16}$")]
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class ApiKeySettings(Settings):
    """Settings of API keys, read from variables that begin with ``AUTH_API_KEY_``. All times are in seconds.

    API keys are switched on by peppers.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_API_KEY_")

    peppers: NamedSecrets = Field(
        default={},
        description="The secrets of the hashes, by id: 2026=secret,2025=secret. The first makes new hashes, the others "
        "verify older ones. Unset: there are no API keys.",
    )
    prefix: _Word = Field(default="bmk", description="The first word of every key: bmk_live_...")
    environment: _Word = Field(
        default="live", description="The second word of every key. Keys of other environments are refused."
    )
    header: _HeaderName = Field(
        default="X-API-Key", description="The request header for a key, beside Authorization: Bearer."
    )
    store: Literal["memory", "sql"] = Field(
        default="memory",
        description="Where keys are kept: in memory, which is refused in production, or in the database.",
    )
    hasher: Literal["hmac-sha256", "bcrypt"] = Field(
        default="hmac-sha256", description="How keys are hashed. bcrypt is for those who have to use it."
    )
    bcrypt_rounds: int = Field(default=12, ge=12, le=31, description="The cost of bcrypt: 2 to the power of this.")
    bcrypt_threads: int = Field(default=2, ge=1, le=64, description="Threads for bcrypt in each process.")
    bcrypt_wait: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=5, description="Seconds that a request waits for one of these threads before it is answered with 503."
    )
    bcrypt_cache: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=60, description="Seconds for which a verified key is accepted without bcrypt; 0: bcrypt each time."
    )
    rotation_grace: _Seconds = Field(
        default=_DAY, description="Seconds that a key is still accepted after its rotation, unless the call says."
    )
    last_used_interval: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=60, description="Seconds between two updates of the time of a key's last use, at least."
    )

    @field_validator("header")
    @classmethod
    def _check_header(cls, value: str) -> str:
        if value.lower() in _TAKEN_HEADERS:
            raise ValueError(
                "requests have this header for another reason; keys in Authorization: Bearer are accepted anyway"
            )
        return value

    @field_validator("store", "hasher")
    @classmethod
    def _check_installed(cls, value: str) -> str:
        if value in _EXTRAS:
            check_extra(value, repr(value))
        return value

    @property
    def is_enabled(self) -> bool:
        """Whether there are API keys."""
        return bool(self.peppers)
