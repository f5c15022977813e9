"""Settings of introspection."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class IntrospectionSettings(Settings):
    """Settings of introspection, read from variables that begin with ``AUTH_INTROSPECTION_``.

    All times are in seconds.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_INTROSPECTION_")

    ttl: _MaybeSeconds = Field(
        default=60,
        description="Seconds for which an active token isn't asked about again, and so the longest time until a "
        "revocation at the provider is noticed; 0: every request asks.",
    )
    inactive_ttl: _MaybeSeconds = Field(
        default=10, description="Seconds for which an inactive token isn't asked about again; 0: every request asks."
    )
    max_tokens: int = Field(
        default=10_000, ge=1, description="Active tokens that are remembered at most, and as many inactive ones."
    )
    timeout: _Seconds = Field(default=5, description="Seconds for the provider to answer.")
    longest_pause: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=30, description="The longest pause between two attempts to reach a provider that is away, in seconds."
    )
