"""NiceGUI in a FastAPI app by `ui.run_with`: the host's lifespan calls the same functions as NiceGUI's."""

from fastapi import FastAPI
from nicegui import app as gui
from nicegui import ui
from tests.kernel.hosting.programs.running import run

host = FastAPI()
gui.on_startup(lambda: print("gui starts"))
gui.on_shutdown(lambda: print("gui stops"))


@ui.page("/page")
def page():
    """A page."""
    ui.label("hello")


ui.run_with(host, show_welcome_message=False)


def ask(client):
    """Ask for the page."""
    print("status", client.get("/page").status_code)


if __name__ == "__main__":
    run(host, ask)
