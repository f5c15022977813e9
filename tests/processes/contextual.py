"""An application with lifespans that set a context variable each; requests answer with the values that they see."""

from contextlib import asynccontextmanager
from contextvars import ContextVar

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from bandmaster.kernel import LifespanBand, create_app, lifespan

IN_COMPONENT, IN_HOST, IN_MOUNTED = (ContextVar(name, default="unset") for name in ("component", "host", "mounted"))


def read():
    """The values in the context of the caller."""
    return " ".join(f"{variable.name}={variable.get()}" for variable in (IN_COMPONENT, IN_HOST, IN_MOUNTED))


@lifespan(band=LifespanBand.SERVICES)
async def component():
    IN_COMPONENT.set("set")
    yield
    assert read() == "component=set host=unset mounted=unset"


@asynccontextmanager
async def set_in_host(host):
    IN_HOST.set("set")
    yield {"seen_by_host": read()}
    assert read() == "component=unset host=set mounted=unset"


@asynccontextmanager
async def set_in_mounted(sub):
    IN_MOUNTED.set("set")
    yield {"seen_by_mounted": read()}
    assert read() == "component=unset host=unset mounted=set"


async def page(request):
    return PlainTextResponse(f"{read()} | {request.state.seen_by_host} | {request.state.seen_by_mounted}")


host = Starlette(routes=[Route("/", page), Mount("/sub", Starlette(lifespan=set_in_mounted))], lifespan=set_in_host)
app = create_app(host, contributions=[component], discover=False)

if __name__ == "__main__":
    from bandmaster.kernel import end_process, serve

    end_process(serve(app))
