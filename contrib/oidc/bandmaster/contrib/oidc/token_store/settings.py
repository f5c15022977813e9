"""Settings of the token store."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from bandmaster.contrib.oidc.extras import check_extra
from bandmaster.kernel import Settings


class TokenStoreSettings(Settings):
    """Settings of the token store, read from ``AUTH_TOKEN_STORE`` and variables that begin with ``AUTH_TOKEN_STORE_``.

    All times are in seconds.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_TOKEN_STORE_")

    store: Literal["memory", "redis"] | None = Field(
        default=None,
        validation_alias="AUTH_TOKEN_STORE",
        description="Where revoked tokens are kept: in the memory of the process, or in Redis (AUTH_REDIS_URL). Unset: "
        "tokens can't be revoked, and hold until they expire.",
    )
    max_tokens: int = Field(
        default=100_000,
        ge=1,
        description="Tokens in memory at most; a further one removes the oldest. As many revocations are kept, and "
        "further ones are refused.",
    )
    redis_prefix: str = Field(
        default="ts:", pattern=r"^[^{}]*$", description="What the keys of tokens in Redis begin with, without braces."
    )
    longest_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=2_592_000,
        description="Seconds that any token is valid, at most: for so long a revocation of all tokens of a user, or of "
        "a token with an unknown expiry, is kept.",
    )
    clock_skew: Annotated[float, Field(ge=0, le=300)] = Field(
        default=0,
        description="Seconds by which clocks of providers may be ahead. A revocation of all tokens of a user includes "
        "those that are issued so long after it.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> TokenStoreSettings:
        if self.store == "redis":
            check_extra("redis", "store: 'redis'")
        return self
