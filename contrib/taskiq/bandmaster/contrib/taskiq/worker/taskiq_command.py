"""The kernel's worker within TaskIQ's own command.

::

    taskiq worker shop.worker:broker --receiver bandmaster.contrib.taskiq:KernelReceiver
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
from taskiq import AsyncBroker, BrokerMessage
from taskiq.receiver import Receiver

from bandmaster.kernel import Application, Kernel


class KernelBroker(AsyncBroker):
    """Names the application for TaskIQ's command, which expects a broker.

    In a module of its own::

        from shop.main import app

        broker = KernelBroker(app)
    """

    def __init__(self, target: Application | Kernel) -> None:
        super().__init__()
        kernel = target.kernel if isinstance(target, Application) else target
        self.kernel = kernel if kernel.role == "worker" else kernel.for_role("worker")

    async def startup(self) -> None:
        """Do nothing: `KernelReceiver` starts the components."""

    async def shutdown(self) -> None:
        """Do nothing: `KernelReceiver` stops the components."""

    async def kick(self, message: BrokerMessage) -> None:
        """Refuse to send.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("tasks are sent by the TaskQueue of a running application")

    def listen(self) -> AsyncGenerator[bytes, None]:
        """Refuse to receive.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("run it with --receiver bandmaster.contrib.taskiq:KernelReceiver")


class KernelReceiver(Receiver):
    """Runs the kernel's worker within TaskIQ's command, which owns the process and its signals.

    Concurrency, prefetch and the like are those of `TaskIQSettings`. The options of the command are ignored.

    Raises:
        ValueError: the command wasn't given a `KernelBroker`.
    """

    def __init__(self, broker: AsyncBroker, *args: Any, **kwargs: Any) -> None:
        if not isinstance(broker, KernelBroker):
            raise ValueError(f"broker: expected a KernelBroker, got {type(broker).__name__}")
        super().__init__(broker, *args, **kwargs)
        self._kernel = broker.kernel

    async def listen(self, finish_event: asyncio.Event) -> None:
        """Run the kernel until TaskIQ receives a signal or the kernel asks to stop, then drain and stop."""
        async with self._kernel.running():
            async with anyio.create_task_group() as tasks:

                async def stop_after(wait: Callable[[], Awaitable[object]]) -> None:
                    await wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(stop_after, finish_event.wait)
                tasks.start_soon(stop_after, self._kernel.wait_stop_requested)
            await self._kernel.drain()
