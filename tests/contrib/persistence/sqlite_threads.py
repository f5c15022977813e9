"""The worker threads of aiosqlite."""

import threading


def sqlite_threads():
    """The threads of aiosqlite's connections that are running."""
    return [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]
