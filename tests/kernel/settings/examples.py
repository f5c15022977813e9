"""Settings types that the tests of this folder read and show."""

from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, AliasPath, BaseModel, Field, PostgresDsn, Secret, SecretBytes, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET = "hunter2-hunter2"


class Color(Enum):
    RED = "red"


class Inner(BaseModel):
    url: str
    password: SecretStr = SecretStr(SECRET)


class Part(BaseSettings):
    """One of everything."""

    model_config = SettingsConfigDict(env_prefix="TEST_", env_nested_delimiter="__", populate_by_name=True)

    url: PostgresDsn = Field(description="Where it is.")
    inner: Inner = Inner(url="postgres://u:hunter2-hunter2@h/db")
    size: int = 5
    password: SecretStr | None = None
    many: list[SecretStr] | None = None
    key: Annotated[SecretBytes, Field(description="Signs.")] = SecretBytes(b"hunter2-hunter2")
    made: str = Field(default_factory=lambda: "redis://:hunter2-hunter2@h")
    pin: Secret[int] = Secret(5)
    plain_token: str = ""
    token_url: str = "https://example.org"
    color: Color = Color.RED
    names: frozenset[str] = frozenset({"b", "a"})
    pair: tuple[int, str] = (1, "x")
    limits: dict[str, int] = {"a": 1}
    path: Path | None = None
    on: bool = True
    aliased: int = Field(1, validation_alias="other_name")
    chosen: int = Field(1, validation_alias=AliasChoices("first_choice", "second"))
    placed: int = Field(1, validation_alias=AliasChoices(AliasPath("place", 0), "else"))


class CaseSensitive(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="test_", case_sensitive=True)

    Size: int
    other: int = Field(validation_alias="Other")


URL = f"postgres://u:{SECRET}@h/db"
