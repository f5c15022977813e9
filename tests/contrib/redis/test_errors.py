"""Errors of Redis, transient or permanent."""

import pickle
import ssl

import pytest
import redis
from redis import exceptions as known
from redis.asyncio.sentinel import MasterNotFoundError

from bandmaster.contrib.redis import RedisClosedError, RedisRefusedError, RedisUnavailableError, redis_errors
from bandmaster.contrib.redis.errors import translate
from bandmaster.kernel import PermanentError, TransientError

PASSING = [
    known.ConnectionError("Error 111 connecting to h:1."),
    known.TimeoutError("Timeout reading from h:1"),
    known.MaxConnectionsError("Too many connections"),
    known.BusyLoadingError("Redis is loading the dataset in memory", status_code="LOADING"),
    known.ReadOnlyError("You can't write against a read only replica."),
    known.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    known.MasterDownError("Link with MASTER is down"),
    known.ClusterDownError("Hash slot not served"),
    known.TryAgainError("Multiple keys request during rehashing of slot"),
    known.WatchError("Watched variable changed."),
    known.LockError("Unable to acquire lock within the time specified"),
    known.ResponseError("BUSY Redis is busy running a script."),
    known.ResponseError("MISCONF Errors writing to the AOF file"),
    known.ResponseError("NOREPLICAS Not enough good replicas to write."),
    known.ResponseError("UNBLOCKED force unblock from blocking operation"),
    known.ResponseError("Error running script: -OOM command not allowed when used memory > 'maxmemory'."),
    MasterNotFoundError("No master found for 'main'"),
]
STAYING = [
    known.AuthenticationError("invalid username-password pair or user is disabled."),
    known.AuthorizationError("no"),
    known.NoPermissionError("this user has no permissions to run the 'get' command"),
    known.NoScriptError("No matching script. Please use EVAL."),
    known.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    known.ResponseError("unknown command 'BUSYBODY'"),
    known.ExecAbortError("Transaction discarded because of previous errors."),
    known.MovedError("12 h:1"),
    known.DataError("Invalid input of type: 'NoneType'."),
    known.InvalidResponse("Protocol Error"),
]


def error_name(error):
    return type(error).__name__


@pytest.mark.requirement("XC-E1", "P-19", "XC-E3", "CF-32")
@pytest.mark.parametrize("error", PASSING, ids=error_name)
def test_temporary_errors_are_transient(error) -> None:
    """The error is transient, of redis-py's class as well, and has redis-py's error as its cause."""
    with pytest.raises(RedisUnavailableError) as caught, redis_errors():
        raise error
    assert isinstance(caught.value, TransientError)
    assert isinstance(caught.value, type(error))
    assert (error, str(error)) == (caught.value.__cause__, str(caught.value))


@pytest.mark.requirement("XC-E1", "P-19", "XC-E3", "CF-32")
@pytest.mark.parametrize("error", STAYING, ids=error_name)
def test_lasting_errors_are_permanent(error) -> None:
    """The error is permanent, of redis-py's class as well, and has redis-py's error as its cause."""
    with pytest.raises(RedisRefusedError) as caught, redis_errors():
        raise error
    assert isinstance(caught.value, PermanentError)
    assert isinstance(caught.value, type(error))
    assert (error, str(error)) == (caught.value.__cause__, str(caught.value))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (ssl.SSLCertVerificationError("self-signed certificate"), RedisRefusedError),
        (ssl.SSLError("wrong version number"), RedisRefusedError),
        (PermissionError(13, "Permission denied"), RedisRefusedError),
        (ssl.SSLEOFError("EOF occurred"), RedisUnavailableError),
        (ConnectionRefusedError(111, "Connection refused"), RedisUnavailableError),
        (FileNotFoundError(2, "No such file"), RedisUnavailableError),
    ],
    ids=error_name,
)
def test_connections_fail_for_reasons(reason, kind) -> None:
    """An untrusted certificate is permanent, an interrupted handshake is transient."""
    with pytest.raises(kind), redis_errors():
        try:
            raise reason
        except OSError as error:
            raise known.ConnectionError(f"Error connecting: {error}")  # as redis-py does


def test_other_errors_pass_unchanged() -> None:
    """Errors of this package, and errors of others, pass unchanged."""
    for error in (translate(known.TimeoutError("late")), RedisClosedError("closed"), ValueError("other")):
        with pytest.raises(type(error)) as caught, redis_errors():
            raise error
        assert caught.value is error


@pytest.mark.parametrize("error", [*PASSING, *STAYING], ids=error_name)
def test_errors_can_be_pickled(error) -> None:
    """Errors can be pickled, as results of tasks are."""
    turned = translate(error)
    back = pickle.loads(pickle.dumps(turned))
    assert (type(turned), turned.args) == (type(back), back.args)


def test_every_error_of_redis_py_is_sorted() -> None:
    """Every class of redis-py has a transient and a permanent one."""
    for name, kind in vars(known).items():
        if isinstance(kind, type) and issubclass(kind, known.RedisError):
            error = kind.__new__(kind)
            assert isinstance(translate(error), RedisUnavailableError | RedisRefusedError), name


@pytest.mark.requirement("XC-E1")
def test_a_client_made_elsewhere(redis_url) -> None:
    """redis_errors translates the errors of another client."""
    with redis.Redis.from_url(redis_url) as client:
        client.set("text", "x")
        with pytest.raises(RedisRefusedError, match="WRONGTYPE"), redis_errors():
            client.lpush("text", 1)
