"""Settings of API keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, field_validator
from pydantic_core import from_json
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.kernel import Settings

MIN_PEPPER = 32
"""Characters of a pepper, at least: 128 bits in hexadecimal."""
_PEPPER_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_DAY = 86_400
_PACKAGES = {"sql": ("bandmaster.contrib.persistence", "sql"), "bcrypt": ("bcrypt", "bcrypt")}
"""The package that a value of a setting needs, and the extra that installs it."""

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,16}$")]
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]


def parse_peppers(value: object) -> object:
    """The peppers by id of a text such as ``2026=secret,2025=secret``; a JSON object means the same.

    Raises:
        ValueError: an entry has another form, or an id is given twice. The message doesn't quote the text.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return from_json(value)
    found: dict[str, str] = {}
    for number, entry in enumerate((part for part in value.split(",") if part.strip()), start=1):
        name, sign, pepper = (part.strip() for part in entry.partition("="))
        if not (name and sign and pepper):
            raise ValueError(f"expected id=secret with commas in between; entry {number} has another form")
        if name in found:
            raise ValueError(f"the id of entry {number} is given twice")
        found[name] = pepper
    return found


class ApiKeySettings(Settings):
    """Settings of API keys, read from variables that begin with ``AUTH_API_KEY_``. All times are in seconds.

    API keys are switched on by peppers.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="AUTH_API_KEY_")

    peppers: Annotated[Mapping[str, SecretStr], NoDecode, BeforeValidator(parse_peppers)] = Field(
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

    @field_validator("peppers")
    @classmethod
    def _check_peppers(cls, value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for number, (name, pepper) in enumerate(value.items(), start=1):
            if not _PEPPER_ID.fullmatch(name):
                raise ValueError(f"the id of entry {number} isn't made of up to 32 letters, digits, - and _")
            if len(pepper.get_secret_value()) < MIN_PEPPER:
                raise ValueError(
                    f"entry {number} is shorter than {MIN_PEPPER} characters. Make one with: "
                    'python -c "import secrets; print(secrets.token_urlsafe(32))"'
                )
        if len({pepper.get_secret_value() for pepper in value.values()}) < len(value):
            raise ValueError("one secret stands under several ids, so that removing one of them changes nothing")
        return value

    @field_validator("store", "hasher")
    @classmethod
    def _check_installed(cls, value: str) -> str:
        package, extra = _PACKAGES.get(value, ("", ""))
        if package and not is_installed(package):
            raise ValueError(f"{value} needs the package {package}: install bandmaster-oidc[{extra}]")
        return value

    @property
    def is_enabled(self) -> bool:
        """Whether there are API keys."""
        return bool(self.peppers)


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without doing so."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False
