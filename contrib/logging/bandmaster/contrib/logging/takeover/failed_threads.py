"""Let the failure of a thread become an event, in place of a traceback on standard error."""

from __future__ import annotations

import logging
import threading


class FailedThreads:
    """The hook for exceptions that nobody catches in a thread, replaced until `restore`."""

    def __init__(self) -> None:
        self._before = threading.excepthook
        # Kept, since every access to a method makes a new object.
        self._own = self._log
        threading.excepthook = self._own

    def restore(self) -> None:
        """Restore the hook from before, unless other code has replaced this one."""
        if threading.excepthook is self._own:
            threading.excepthook = self._before

    def _log(self, failure: threading.ExceptHookArgs) -> None:
        # Python ignores SystemExit in a thread as well.
        if failure.exc_value is None or issubclass(failure.exc_type, SystemExit):
            return
        name = failure.thread.name if failure.thread is not None else "unknown"
        logging.getLogger("threading").error(
            "a thread failed",
            exc_info=(failure.exc_type, failure.exc_value, failure.exc_traceback),
            extra={"thread_name": name},
        )
