"""Settings of the audit trail."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.kernel import NamedSecrets, Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

AUTH_ACTIONS = frozenset({"login", "logout", "logout.by_provider", "request.refused"})
"""The events of authentication that become entries unless the settings say otherwise."""


class AuditSettings(Settings):
    """Settings of the audit trail, read from variables that begin with ``AUDIT_``. All times are in seconds.

    The audit trail is switched on by ``store``.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUDIT_")

    store: Literal["memory", "sql"] | None = Field(
        default=None,
        description="Where entries are kept: in the database (sql), or in memory, which is refused in production. "
        "Unset: there is no audit trail.",
    )
    keys: NamedSecrets = Field(
        default={},
        description="The keys of the chain of hashes, by id: 2026=secret,2025=secret. The first makes new hashes, the "
        "others verify older ones. Unset: verification finds accidents only.",
    )
    memory_entries: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Entries that the store in memory keeps; the newest stay."
    )
    pool_size: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Connections of each process for entries in transactions of their own, beside the application's.",
    )
    lock_timeout: _Seconds = Field(
        default=10, description="Seconds that an entry waits for another transaction that adds to the same stream."
    )
    max_details: int = Field(
        default=65_536, ge=256, le=16_777_216, description="Bytes of an entry's details and personal facts, as JSON."
    )
    verify_interval: float | None = Field(
        default=None,
        ge=10,
        allow_inf_nan=False,
        description="Seconds between two verifications by the application itself: of all entries first, then of the "
        "new ones. Unset: only 'bandmaster audit verify' verifies.",
    )
    checkpoint_file: Path | None = Field(
        default=None,
        description="A file outside the database that remembers how far entries are verified. 'bandmaster audit "
        "verify' begins there, and finds entries that were removed since.",
    )
    auth_events: Annotated[frozenset[str], NoDecode] = Field(
        default=AUTH_ACTIONS,
        description="Which events of authentication become entries, comma separated; api_key.used is one more. Empty: "
        "none.",
    )
    auth_queue: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Events of authentication that wait to be written. More are dropped, and an entry says how many.",
    )

    @field_validator("store")
    @classmethod
    def _check_installed(cls, value: str | None) -> str | None:
        if value == "sql" and find_spec("bandmaster.contrib.persistence") is None:
            raise ValueError("sql needs an extra: pip install 'bandmaster-audit[sql]'")
        return value

    @property
    def is_enabled(self) -> bool:
        """Whether there is an audit trail."""
        return self.store is not None


def is_enabled(settings: AuditSettings) -> bool:
    """Whether there is an audit trail."""
    return settings.is_enabled
