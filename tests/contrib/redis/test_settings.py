"""Settings of a Redis client."""

import pytest
from pydantic import ValidationError

from bandmaster.contrib.redis import RedisSettings, redis
from bandmaster.kernel import PlanError, create_app
from bandmaster.kernel.settings.display import current_value, describe_settings

SECRET = "hunter2"


@pytest.mark.requirement("CF-22", "F-06", "PE-6", "CF-38", "F-10", "CF-39", "F-12")
def test_bounds_are_settings(monkeypatch) -> None:
    """Size, timeouts, retries and health checks of the pool are read from the environment."""
    chosen = {
        "max_connections": 3,
        "pool_timeout": 1.5,
        "connect_timeout": 2.5,
        "socket_timeout": 3.5,
        "health_check_interval": 0.0,
        "retries": 0,
        "backoff_base": 0.1,
        "backoff_cap": 0.2,
        "probe_timeout": 0.5,
        "critical": False,
        "client_name": "shop",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(f"REDIS_{name.upper()}", str(value))
    assert chosen == RedisSettings().model_dump(include=set(chosen))


def test_defaults_are_bounded() -> None:
    """Every default timeout is finite."""
    settings = RedisSettings()
    assert ("127.0.0.1:6379, database 0", 11) == (str(settings.address), settings.connections)
    assert all(0 < getattr(settings, name) < 60 for name in ("pool_timeout", "connect_timeout", "socket_timeout"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", ""),
        ("url", "http://h"),
        ("url", "redis://h/x"),
        ("max_connections", 0),
        ("max_connections", 1.5),
        ("pool_timeout", 0),
        ("pool_timeout", "inf"),
        ("connect_timeout", 0),
        ("socket_timeout", -1),
        ("socket_timeout", "nan"),
        ("health_check_interval", -1),
        ("retries", -1),
        ("backoff_base", 0),
        ("backoff_base", 2),
        ("backoff_cap", 0),
        ("probe_timeout", 0),
        ("probe_timeout", 5),
        ("client_name", "two words"),
        ("tls_ca_file", "ca.pem"),
        ("tls_cert_file", "cert.pem"),
        ("sentinel_username", "me"),
        ("sentinel_password", SECRET),
    ],
)
def test_bad_values_are_refused_by_name(field, value) -> None:
    """Wrong bounds, malformed URLs, and settings that the URL has no use for are refused."""
    with pytest.raises(ValidationError, match=field) as caught:
        RedisSettings(**{field: value})
    assert SECRET not in str(caught.value)


def test_a_key_needs_its_certificate() -> None:
    """A key without a certificate is refused, since it would be ignored."""
    with pytest.raises(ValidationError, match="tls_key_file: needs tls_cert_file"):
        RedisSettings(url="rediss://h", tls_key_file="key.pem")
    assert RedisSettings(url="rediss://h", tls_cert_file="both.pem").tls_key_file is None


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@h/0",
        f"redis://:{SECRET}@h/0",
        f"unix://:{SECRET}@/r.sock",
        f"redis+sentinel://:{SECRET}@a,b/main",
    ],
)
def test_no_view_of_the_settings_shows_a_password(url) -> None:
    """Neither text, dump, address nor `bandmaster config` shows a password."""
    settings = RedisSettings(url=url)
    shown = [current_value(settings, setting) for setting in RedisSettings.model_fields]
    views = [
        settings,
        settings.model_dump(),
        settings.model_dump_json(),
        settings.address,
        describe_settings(RedisSettings),
    ]
    assert SECRET not in f"{views} {settings} {settings.address} {shown}"
    assert SECRET == settings.address.password


@pytest.mark.parametrize("url", [f"redis://:{SECRET}@h:x", f"http://:{SECRET}@h", SECRET, f"redis://:{SECRET}#1@h"])
def test_a_plan_shows_no_password_of_a_bad_url(monkeypatch, url) -> None:
    """The problem of the plan names the variable, and repeats nothing of the URL."""
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(PlanError, match="REDIS_URL is wrong") as caught:
        create_app(contributions=[redis], discover=False)
    assert SECRET not in str(caught.value)


def test_a_plan_shows_no_password(monkeypatch) -> None:
    """A plan shows no password of a valid URL."""
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@h")
    plan = create_app(contributions=[redis], discover=False).plan
    assert SECRET not in f"{plan} {plan!r}"
    assert {"redis": 11} == dict(plan.budget)
