"""Tests of programs without the metadata of their distributions, such as those that PyInstaller freezes."""

import subprocess
import sys

import pytest

FROZEN = (
    "this program is frozen without the metadata of bandmaster, so installed plugins can't be seen; freeze it with the "
    "metadata of bandmaster and of each plugin (PyInstaller: --copy-metadata), or pass the parts in code"
)
# Hides each dist-info directory from the kernel and from importlib.metadata.
HIDE = """
import os, sys
listdir = os.listdir
os.listdir = lambda *path: [name for name in listdir(*path) if not name.endswith("-info")]
"""
FREEZE = f"{HIDE}sys.frozen = True\n"
SERVE = """
import signal, socket, threading, time
from starlette.applications import Starlette
from bandmaster.kernel import LifespanBand, ServerSettings, create_app, lifespan, serve

def stop_after_a_response():
    try:
        with socket.socket(socket.AF_UNIX) as client:
            while client.connect_ex("server.sock"):
                time.sleep(0.01)
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: shop\\r\\nConnection: close\\r\\n\\r\\n")
            print(client.recv(12).decode())
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

@lifespan(band=LifespanBand.SERVICES)
async def database():
    threading.Thread(target=stop_after_a_response, daemon=True).start()
    yield
    print("stopped")

app = create_app(Starlette(), contributions=[database])
print(app.plan.warnings)
sys.exit(serve(app, settings=ServerSettings(uds="server.sock")))
"""


def run(code):
    """The lines that a program prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


def test_a_frozen_program_serves(tmp_path, monkeypatch):
    """A frozen program starts and stops, and warns that installed plugins can't be seen."""
    monkeypatch.chdir(tmp_path)
    first, *rest = run(FREEZE + SERVE)
    assert first == str((FROZEN,))
    assert ["HTTP/1.1 404", "stopped"] == rest


def test_an_image_without_metadata():
    """A program that lost its metadata in another way warns, too."""
    (line,) = run(f"{HIDE}from bandmaster.kernel.discovery.discover import discover\nprint(discover().warnings)")
    assert line.startswith('("bandmaster has no metadata (dist-info) on sys.path, so plugins that lost theirs')


def test_a_frozen_program_with_its_metadata():
    """A frozen program that keeps the metadata has nothing to warn about."""
    code = "import sys; sys.frozen = True\nfrom bandmaster.kernel.discovery.discover import find, scan\n"
    assert ["()"] == run(f"{code}assert find()\nprint(scan().warnings)")


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian"])
def test_a_server_without_its_version(server):
    """A server whose metadata is missing is named without a version."""
    pytest.importorskip(server)
    code = "from bandmaster.kernel import ServerSettings\nfrom bandmaster.kernel.process.servers.interface import make_server\n"
    assert [server] == run(f"{FREEZE}{code}print(make_server(ServerSettings(server={server!r})).version)")


def test_the_command_line_without_metadata():
    """``bandmaster --version`` prints the name alone."""
    assert ["bandmaster"] == run(
        f"{FREEZE}from bandmaster.kernel.cli import main\nsys.argv[1:] = ['--version']\nmain()"
    )
