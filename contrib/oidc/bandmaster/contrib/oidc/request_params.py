"""Further parameters of OAuth requests, as settings name them: all but those that are known to be public are secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, SecretStr

PUBLIC = frozenset(
    {
        "access_type",
        "acr_values",
        "audience",
        "claims",
        "claims_locales",
        "connection",
        "display",
        "domain_hint",
        "hd",
        "identity_provider",
        "idp_hint",
        "include_granted_scopes",
        "kc_idp_hint",
        "login_hint",
        "max_age",
        "organization",
        "prompt",
        "requested_token_type",
        "requested_token_use",
        "resource",
        "response_mode",
        "scope",
        "screen_hint",
        "subject_token_type",
        "tenant",
        "ui_locales",
    }
)
"""The names of parameters whose values may be shown. A provider may take a secret under any other name."""
OF_AUTHORIZATION = frozenset(
    {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_type",
        "state",
    }
)
"""The names of parameters that an authorization request has anyway."""
# A JWT, a private key, the user of a URL, or a parameter inside of a URL or of JSON that sounds like a secret.
_SECRET_VALUE = re.compile(
    r"\beyJ[\w-]+\.[\w-]+\.|PRIVATE KEY|://[^/?#\s]*@|(?:password|secret|token|key|code|assertion)(?:[\"']?\s*=|[\"']\s*:)",
    re.IGNORECASE,
)


def hide_secrets(params: Mapping[str, str | SecretStr]) -> Mapping[str, str | SecretStr]:
    """The parameters with every value as a secret, except for public ones."""
    return {
        name: value if isinstance(value, SecretStr) or _is_public(name, value) else SecretStr(value)
        for name, value in params.items()
    }


def reveal(params: Mapping[str, str | SecretStr]) -> dict[str, str]:
    """The parameters as they are sent."""
    return {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in params.items()}


def list_public(params: Mapping[str, str | SecretStr]) -> dict[str, str]:
    """The parameters that anybody may see."""
    return {name: value for name, value in params.items() if isinstance(value, str) and _is_public(name, value)}


def refuse_reserved(params: RequestParams, reserved: frozenset[str]) -> RequestParams:
    """Check that none of the parameters is one of the flow itself.

    Raises:
        ValueError: one is; the message names the parameter.
    """
    for name in params:
        if name.strip().lower() in reserved:
            raise ValueError(f"can't set {name!r}, which the flow itself sets")
    return params


def _is_public(name: str, value: str) -> bool:
    return name in PUBLIC and not _SECRET_VALUE.search(value)


# `str` comes first: pydantic makes a secret of any text where the other one does.
RequestParams: TypeAlias = Annotated[Mapping[str, str | SecretStr], AfterValidator(hide_secrets)]
"""The type of a field with further parameters, by their names."""
