"""One run of the lifespans of a host and of its mounted apps, with the values that the lifespans yield."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bandmaster.kernel.hosting.entered import AsyncGeneratorWatch, Finding, Suspect, judge_suspect
from bandmaster.kernel.hosting.frameworks import LifespanGuard, has_lifespan, list_startup_handlers
from bandmaster.kernel.hosting.mounted import HostedApp, NestedApplication
from bandmaster.kernel.lifecycle.resources import Resources

RESOURCES = "resources"
"""The name under which lifespans find the values of components: in ``app.state``, and in the scope's state."""


class HostedRun:
    """The lifespans of a host and of its mounted apps, from the first start to the last stop.

    Each app's ``state`` has the attribute ``resources`` meanwhile, unless the app has one of that name.
    """

    def __init__(self, host: HostedApp, apps: Sequence[HostedApp], resources: Resources) -> None:
        self.resources = resources
        self._host = host
        self._mounted = [hosted for hosted in apps if hosted.path]
        self._findings: dict[str, Finding] = {}
        self._states: dict[str, dict[str, Any]] = {}
        routers = {id(hosted.router): hosted.router for hosted in (host, *apps) if hosted.router is not None}
        # Before the guard takes their place.
        self._lifespans = {key: router.lifespan_context for key, router in routers.items()}
        self._with_lifespan = {key for key, router in routers.items() if has_lifespan(router)}
        self._guard = LifespanGuard(routers.values())
        self._watch = AsyncGeneratorWatch()
        self._exits = ExitStack()
        self._exits.callback(self._guard.end)
        for hosted in (host, *apps):
            self._offer_resources(hosted.core)

    def end(self) -> None:
        """Put everything back as it was before the run."""
        self._exits.close()

    def is_required(self, hosted: HostedApp) -> bool:
        """Whether an app is known to have a lifespan."""
        return id(hosted.router) in self._with_lifespan

    def set_state(self, name: str, state: dict[str, Any]) -> None:
        """Keep the values that a component's lifespan yields for requests; the mapping may still be filled."""
        self._states[name] = state

    def get_state(self, name: str) -> dict[str, Any]:
        """The values that a component's lifespan has yielded for requests."""
        state = self._states.get(name, {})
        return {key: value for key, value in state.items() if key != RESOURCES or value is not self.resources}

    @contextmanager
    def watch_host(self) -> Iterator[None]:
        """Watch the async generators that the host's lifespan begins, until `judge_mounted` is called."""
        with self._watch:
            yield

    def judge_mounted(self) -> None:
        """Find out which mounted apps the host's lifespan, which has just started, has started."""
        opened = self._watch.list_open()
        host_lifespan = self._lifespans.get(id(self._host.router))
        for hosted in self._mounted:
            others = [other.core for other in self._mounted if other is not hosted]
            if self._guard.has_entered(hosted.router):
                self._findings[hosted.name] = Finding.STARTED
            elif not isinstance(hosted.core, NestedApplication):
                lifespan = self._lifespans.get(id(hosted.router))
                suspect = Suspect(hosted.core, lifespan, list_startup_handlers(hosted.router))
                self._findings[hosted.name] = judge_suspect(suspect, host_lifespan, opened, others)
        self._watch.end()

    def find(self, hosted: HostedApp) -> Finding:
        """The finding about a mounted app."""
        if isinstance(hosted.core, NestedApplication):
            return Finding.STARTED if hosted.core.kernel.is_running else Finding.NOT_STARTED
        return self._findings.get(hosted.name, Finding.NOT_STARTED)

    def explain_failure(self, hosted: HostedApp, error: Exception) -> None:
        """Note on an app's error which other code may be at fault."""
        if self.is_required(hosted) and not self._guard.has_entered(hosted.router):
            error.add_note(
                f"the lifespan scope didn't reach the lifespan of the {type(hosted.core).__name__} app: middleware of "
                "the app, or a wrapper around it, failed on the scope. Let it pass on every scope that is neither http "
                "nor websocket; servers would serve the app without its lifespan"
            )
        if hosted.path and self._host.router is not None and self.is_required(self._host):
            error.add_note(
                f"if the host's own lifespan starts the app mounted at {hosted.path!r}, leave that to the host: "
                f"BANDMASTER_DISABLE={hosted.name}, or BANDMASTER_MOUNTED_LIFESPANS=false for every mounted app"
            )

    def _offer_resources(self, app: Any) -> None:
        state = getattr(app, "state", None)
        if state is None or hasattr(state, RESOURCES):
            return
        try:
            setattr(state, RESOURCES, self.resources)
        except Exception:  # noqa: BLE001  # an attribute of another kind; the scope's state has the resources as well
            return
        self._exits.callback(self._withdraw_resources, state)

    def _withdraw_resources(self, state: Any) -> None:
        if getattr(state, RESOURCES, None) is self.resources:
            delattr(state, RESOURCES)
