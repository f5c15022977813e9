"""The base of settings types."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from bandmaster.kernel.settings.environment import current_environment
from bandmaster.kernel.settings.source import VariablesSource
from bandmaster.kernel.settings.texts import is_comma_list, means_nothing, parse_list
from bandmaster.kernel.settings.variables import variable_of
from bandmaster.kernel.text import suggest


class Settings(BaseSettings):
    """Settings of a part, read from variables: a `pydantic_settings.BaseSettings` with the habits of bandmaster's own.

    The settings are frozen, and errors don't show values. An argument that is no setting is refused, with the name that
    was probably meant. A list (annotated with ``NoDecode``) is read from a text with commas or from JSON. An empty text
    means that the variable isn't set, unless the setting is a text or a list. ``none`` stands for None.

    Parts may read any other settings type of pydantic-settings as well.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field, for error messages."""
        return variable_of(cls, field)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments, then the variables of the process, then those of the env file.

        Raises:
            ValidationError: an argument is no setting of this type.
        """
        _check_names(settings_cls, init_settings)
        if not isinstance(env_settings, VariablesSource):
            env_settings = VariablesSource(settings_cls, current_environment())
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @field_validator("*", mode="before")
    @classmethod
    def _parse_text(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields.get(info.field_name or "")
        if field is None or not isinstance(value, str):
            return value
        if means_nothing(field, value):
            return None
        return parse_list(value) if is_comma_list(cls, field) else value


def _check_names(kind: type[BaseSettings], source: PydanticBaseSettingsSource) -> None:
    """Refuse arguments that name no setting."""
    if kind.model_config.get("extra") == "allow" or not isinstance(source, InitSettingsSource):
        return
    known = {name.lower() for name in kind.model_fields}
    known |= {
        str(alias).lower()
        for field in kind.model_fields.values()
        for alias in (field.alias, *_list_aliases(field.validation_alias))
        if alias is not None
    }
    unknown = [name for name in source.init_kwargs if name.lower() not in known]
    if unknown:
        raise ValidationError.from_exception_data(
            kind.__name__,
            [
                InitErrorDetails(
                    type=PydanticCustomError(
                        "unknown_setting",
                        "{kind} has no such setting.{hint}",
                        {"kind": kind.__name__, "hint": suggest(name, kind.model_fields)},
                    ),
                    loc=(name,),
                    input=None,
                )
                for name in unknown
            ],
            hide_input=True,
        )


def _list_aliases(alias: Any) -> list[Any]:
    choices = getattr(alias, "choices", [alias])
    return [getattr(choice, "path", [choice])[0] for choice in choices]
