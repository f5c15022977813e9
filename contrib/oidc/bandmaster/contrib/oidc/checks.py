"""The check of `bandmaster check` for settings of authentication that have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.devprovider.settings import DevProviderSettings
from bandmaster.contrib.oidc.provider_fields import ProviderFields
from bandmaster.contrib.oidc.revocations import RevocationList
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.kernel import Application, CheckContribution, Key, Plan, Problem, Settings

_WITHOUT_PROVIDER = frozenset({"issuer", "issuers", "public_url", "leeway"})
"""Settings that aren't about providers, or are used by a verifier of the application's own as well."""


def find_idle_settings(settings: AuthSettings) -> Iterator[Problem | str]:
    """The settings of the single provider, where no issuer says that there is one, and of all where there is none."""
    given = [name for name in ProviderFields.model_fields if name in settings.model_fields_set]
    if settings.issuer is None and given:
        variables = ", ".join(map(settings.variable, given))
        yield (
            f"{settings.variable('issuer')} isn't set, so these have no effect: {variables}. Set it, or write them "
            f"into the entries of {settings.variable('issuers')}."
        )
    of_all = AuthSettings.model_fields.keys() - ProviderFields.model_fields.keys() - _WITHOUT_PROVIDER
    others = sorted(settings.variable(name) for name in of_all & settings.model_fields_set)
    if not settings.providers and others:
        yield (
            f"no provider is configured, so these have no effect: {', '.join(others)}. Set "
            f"{settings.variable('issuer')} or {settings.variable('issuers')}."
        )


_SWITCHES: tuple[tuple[type[Settings], str, str, str], ...] = (
    (TokenStoreSettings, "store", "", "no token can be revoked"),
    (AccessSettings, "dev_bypass", "dev_bypass_", "nothing is bypassed"),
    (AccessSettings, "websocket_end", "websocket_recheck", "no WebSocket is closed when its credential ends"),
    (DevProviderSettings, "dev_provider", "dev_provider_", "there is no provider for development"),
)
"""The settings with a field that switches others off, by the beginning of their names, and the consequence."""


def find_switched_off(plan: Plan) -> Iterator[str]:
    """The settings that are set while another setting switches off what they are about."""
    for kind, switch, beginning, consequence in _SWITCHES:
        settings = plan.settings_of(kind)
        if settings is None or getattr(settings, switch):
            continue
        names = [name for name in kind.model_fields if name.startswith(beginning) and name != switch]
        given = ", ".join(settings.variable(name) for name in names if name in settings.model_fields_set)
        if given:
            state = "is off" if switch in settings.model_fields_set else "isn't set"
            yield f"{settings.variable(switch)} {state}, so that {consequence}, and these have no effect: {given}."


_CHOICES: tuple[tuple[type[Settings], str, Mapping[str, tuple[str, ...]]], ...] = (
    (
        SessionSettings,
        "store",
        {
            "max_sessions": ("memory",),
            "cookie_limit": ("cookie",),
            "redis_prefix": ("redis",),
            "lock_lease": ("redis", "sql"),
            "purge_interval": ("sql",),
        },
    ),
    (TokenStoreSettings, "store", {"max_tokens": ("memory",), "redis_prefix": ("redis",)}),
    (ApiKeySettings, "hasher", {"bcrypt_rounds": ("bcrypt",)}),
)
"""Settings with a field that chooses, and the fields that only some choices use."""


def find_unchosen(plan: Plan) -> Iterator[str]:
    """The settings that are set and that another choice than the present one uses."""
    for kind, chooser, fields in _CHOICES:
        settings = plan.settings_of(kind)
        chosen = None if settings is None else getattr(settings, chooser)
        if settings is None or chosen is None:
            continue
        for name, choices in fields.items():
            if name in settings.model_fields_set and chosen not in choices:
                yield (
                    f"{settings.variable(name)} has no effect, because {settings.variable(chooser)} is {chosen!r}; it "
                    f"is for {' and '.join(map(repr, choices))}."
                )


def find_idle_revocations(plan: Plan) -> Iterator[str]:
    """The settings about revoked credentials, where nothing can revoke one."""
    settings = plan.settings_of(AccessSettings)
    if settings is None:
        return
    lists = {part.name for part in plan.components if Key(RevocationList) in part.provides}
    lists |= {str(key) for key in plan.overrides if key.type is RevocationList}
    # The keys' own service knows nothing of tokens, and is asked only about open WebSockets.
    for name, known in (("without_revocations", lists - {"api_keys"}), ("websocket_recheck", lists)):
        if name in settings.model_fields_set and not known:
            yield (
                f"{settings.variable(name)} has no effect, because nothing can revoke "
                f"{'tokens' if name == 'without_revocations' else 'credentials'}. Set "
                f"{TokenStoreSettings.variable('store')}, or provide a RevocationList."
            )


def _check_application(application: Application) -> list[Problem | str]:
    settings = application.plan.settings_of(AuthSettings)
    idle = [] if settings is None else find_idle_settings(settings)
    plan = application.plan
    return [*idle, *find_switched_off(plan), *find_unchosen(plan), *find_idle_revocations(plan)]


provider_settings = CheckContribution(
    name="provider_settings",
    check=_check_application,
    description="Finds settings of authentication that have no effect, because another one switches them off.",
)
