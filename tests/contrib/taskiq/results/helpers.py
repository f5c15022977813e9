"""Results and errors for the tests of results."""

from taskiq import TaskiqResult


def make_result(value=None, error=None, **labels):
    return TaskiqResult(
        is_err=error is not None, return_value=value, execution_time=0.5, error=error, labels=labels, log=None
    )


def catch_error(do):
    try:
        do()
    except Exception as error:
        return error
