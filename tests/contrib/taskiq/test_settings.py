"""The settings of the task queue."""

import os

import pytest
from pydantic import ValidationError

from bandmaster.contrib.redis import redis
from bandmaster.contrib.taskiq import TaskIQSettings, taskiq
from bandmaster.contrib.taskiq.settings import TaskIQRedis
from bandmaster.kernel import Kernel, PlanError

SECRET = "hunter2-4711"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Clear the environment."""
    for name in list(os.environ):
        if name.startswith(("TASKIQ_", "REDIS_")):
            monkeypatch.delenv(name)


@pytest.mark.requirement("CF-12", "TQ-6")
def test_the_environment_is_read(monkeypatch):
    """Variables that begin with TASKIQ_ set the settings."""
    for name, value in {
        "REDIS_URL": "redis://localhost:6379/1",
        "ATTEMPTS": "7",
        "RESULT_TTL": "60",
        "STREAM_PREFIX": "shop:",
        "CONSUMER_GROUP": "kitchen",
        "LEASE": "1.5",
        "REDIS_MAX_CONNECTIONS": "3",
    }.items():
        monkeypatch.setenv(f"TASKIQ_{name}", value)
    found = TaskIQSettings()
    assert (7, 60.0, "shop:", "kitchen", 1.5) == (
        found.attempts,
        found.result_ttl,
        found.stream_prefix,
        found.consumer_group,
        found.lease,
    )
    assert ("redis://localhost:6379/1", 3) == (found.redis_url, found.redis.max_connections)


@pytest.mark.requirement("TQ-6")
def test_the_defaults():
    """By default the queue is in memory, and results are kept for an hour."""
    found = TaskIQSettings()
    assert (None, None, 3600.0, 5) == (found.redis_url, found.broker, found.result_ttl, found.attempts)
    with pytest.raises(ValueError, match="redis_url: isn't set"):
        _ = found.redis


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_url_is_none(empty):
    """An empty URL counts as unset."""
    assert None is TaskIQSettings(redis_url=empty).redis_url


@pytest.mark.requirement("CF-12")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://localhost", "redis://localhost/1"),
        ("redis://localhost:6379/", "redis://localhost:6379/1"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://localhost:6379/5", "redis://localhost:6379/5"),
        ("redis://localhost?db=3", "redis://localhost?db=3"),
        ("redis://user:p%40ss@localhost", "redis://user:p%40ss@localhost/1"),
        ("rediss://localhost", "rediss://localhost/1"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=0"),
        ("redis+sentinel://one:26379,two:26379/main", "redis+sentinel://one:26379,two:26379/main/1"),
        ("redis+sentinel://one:26379/main/0", "redis+sentinel://one:26379/main/0"),
        ("rediss+sentinel://one/main/", "rediss+sentinel://one/main/1"),
        (" redis://localhost ", "redis://localhost/1"),
    ],
)
def test_database_1_is_the_default(given, expected):
    """A URL that names no database means database 1, in every form of URL."""
    found = TaskIQSettings(redis_url=given)
    assert expected == found.redis_url == found.redis.url


@pytest.mark.parametrize(
    "url", [f"http://me:{SECRET}@host", f"redis://me:{SECRET}@host:port", f"redis://me:{SECRET}@host/many", SECRET]
)
def test_a_wrong_url_is_named_and_not_shown(url, monkeypatch):
    """The error of a wrong URL names the variable and doesn't show the password."""
    with pytest.raises(ValidationError) as caught:
        TaskIQSettings(redis_url=url)
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("TASKIQ_REDIS_URL", url)
    with pytest.raises(PlanError) as refused:
        Kernel(contributions=[taskiq], discover=False)
    assert "TASKIQ_REDIS_URL is wrong (TaskIQSettings)" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_the_password_is_not_shown():
    """No rendering of the settings shows a password, but the client gets it."""
    found = TaskIQSettings(
        redis_url=f"redis+sentinel://me:{SECRET}@host/main",
        redis_sentinel_username="us",
        redis_sentinel_password=SECRET,
    )
    for shown in (repr(found), str(found), repr(found.model_dump()), found.model_dump_json(), repr(found.redis)):
        assert SECRET not in shown
    assert "redis+sentinel://me:***@host/main/1" == found.model_dump()["redis_url"]
    assert None is TaskIQSettings().model_dump()["redis_url"]
    assert SECRET in found.redis.url
    assert SECRET == found.redis.sentinel_password.get_secret_value()


@pytest.mark.parametrize(
    "option",
    [
        {"attempts": 0},
        {"backoff": -1},
        {"backoff": float("nan")},
        {"longest_backoff": float("inf")},
        {"jitter": 1.1},
        {"lease": 0.4},
        {"max_deliveries": 0},
        {"result_ttl": 0},
        {"concurrency": 0},
        {"prefetch": -1},
        {"threads": 0},
        {"timeout": 0},
        {"queue": "two words"},
        {"queue": ""},
        {"consumer_group": ""},
        {"schedule_interval": 0},
        {"redis_max_connections": 0},
    ],
)
def test_values_out_of_range_are_refused_by_name(option):
    """Each value out of range is refused by name."""
    (name,) = option
    with pytest.raises(ValidationError) as caught:
        TaskIQSettings(**option)
    assert [(name,)] == [detail["loc"] for detail in caught.value.errors()]


def test_pauses_must_agree():
    """A first pause longer than the longest is refused."""
    with pytest.raises(ValidationError, match="backoff: a first pause above longest_backoff would never be used"):
        TaskIQSettings(backoff=10, longest_backoff=5)
    assert 5 == TaskIQSettings(backoff=5, longest_backoff=5).backoff


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("redis_tls_ca_file", {"redis_url": "redis://host", "redis_tls_ca_file": "/ca.pem"}),
        ("redis_tls_key_file", {"redis_url": "rediss://host", "redis_tls_key_file": "/key.pem"}),
        ("redis_sentinel_username", {"redis_url": "redis://host", "redis_sentinel_username": "me"}),
    ],
)
def test_options_that_do_not_fit_the_url_are_refused_by_name(field, options):
    """The error names the setting of the queue, not that of the Redis client."""
    with pytest.raises(ValidationError, match=f"Value error, {field}: "):
        TaskIQSettings(**options)


def test_the_client_gets_the_queues_settings():
    """The Redis client gets the timeouts and the pool size of the queue's settings."""
    found = TaskIQSettings(redis_url="redis://host", redis_connect_timeout=1, redis_socket_timeout=2).redis
    assert (1.0, 2.0, 10, "bandmaster-tasks") == (
        found.connect_timeout,
        found.socket_timeout,
        found.max_connections,
        found.client_name,
    )


def test_the_environment_does_not_reach_the_client(monkeypatch):
    """The client's settings ignore the environment."""
    monkeypatch.setenv("TASKIQ_REDIS_RETRIES", "99")
    monkeypatch.setenv("REDIS_RETRIES", "99")
    assert 3 == TaskIQRedis(url="redis://host").retries


def test_cache_and_queue_have_variables_of_their_own(monkeypatch):
    """One plan reads the cache's URL and the queue's from different variables."""
    monkeypatch.setenv("REDIS_URL", "redis://cache/0")
    monkeypatch.setenv("TASKIQ_REDIS_URL", "redis://queue")
    plan = Kernel(contributions=[redis, taskiq], discover=False).plan
    assert {"redis://cache/0", "redis://queue/1"} == {
        getattr(found, "redis_url", None) or getattr(found, "url", None)
        for kind, found in plan.settings.items()
        if "Redis" in kind.__name__ or "TaskIQ" in kind.__name__
    }
