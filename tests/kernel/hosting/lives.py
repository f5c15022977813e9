"""Lifespans that record their starts and stops, and applications around hosts that have them."""

from contextlib import asynccontextmanager

from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.kernel import events
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.settings.kernel import KernelSettings


class Lives:
    """Lifespans that record their starts and stops."""

    def __init__(self):
        self.trace = []

    def of(self, name, yielded=None, fail=None):
        @asynccontextmanager
        async def lifespan(app):
            self.trace.append(f"{name} up")
            if fail == "start":
                raise OSError(name)
            yield yielded
            if fail == "stop":
                raise OSError(name)
            self.trace.append(f"{name} down")

        return lifespan


async def endpoint(request):
    return PlainTextResponse(repr({key: value for key, value in request.state._state.items() if key not in OURS}))


OURS = ("resources", "drain")
HERE = Route("/state", endpoint)


def composed(host, *contributions, **settings):
    seen = []
    app = create_app(
        host, contributions=contributions, discover=False, settings=KernelSettings(**settings), listeners=[seen.append]
    )
    app.seen = seen
    return app


async def ran(host, *contributions, **settings):
    app = composed(host, *contributions, **settings)
    async with app.running():
        pass
    return app


def names(app):
    return [component.name for component in app.plan.components]


def warned(app):
    return [event.message for event in app.seen if isinstance(event, events.Warned)]
