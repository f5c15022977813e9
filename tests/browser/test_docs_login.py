"""A person presses Authorize on the docs page in a real browser, and logs in at a certified provider."""

from __future__ import annotations

import http.client
import os
import ssl
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.browser.browsers import click, open_browser
from tests.browser.test_origins import CHROMIUM, PATIENCE
from tests.contrib.oidc.providers.certified import OidcProvider
from tests.contrib.oidc.providers.fixtures import oidc_provider as oidc_provider
from tests.contrib.oidc.providers.fixtures import oidc_provider_process as oidc_provider_process
from tests.contrib.oidc.providers.npm import install
from tests.contrib.redis.certificates import certificate
from tests.http_servers import serve_http
from tests.processes.conftest import free_port, running, until_answered

from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs chromium: apt-get install chromium"),
]
API = "https://shop.example"
SWAGGER_UI = "swagger-ui-dist@5.35.0"
"""The page that FastAPI renders loads this package from a CDN, and here from this machine."""
CDN = "cdn.jsdelivr.net"
TYPES = {".js": "text/javascript", ".css": "text/css"}


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def cdn(tmp_path: Path) -> Iterator[int]:
    """The port of a server that has the files of Swagger UI, by HTTPS."""
    try:
        files = install(SWAGGER_UI) / "node_modules" / "swagger-ui-dist"
        made = certificate(tmp_path, "cdn")
    except ServerUnavailable as error:
        skip_or_fail(error)

    class Files(_Handler):
        def do_GET(self) -> None:
            path = files / Path(self.path).name
            if path.suffix not in TYPES or not path.is_file():
                return self.reply(404, {}, b"")
            return self.reply(200, {"content-type": TYPES[path.suffix]}, path.read_bytes())

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert, made.key)
    with serve_http(Files, tls) as port:
        yield port


@contextmanager
def strip_prefix(prefix: str, port: int) -> Iterator[int]:
    """The port of a proxy that passes requests below a prefix on, without the prefix."""

    class Proxy(_Handler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                return self.reply(404, {}, b"")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                connection.request("GET", self.path.removeprefix(prefix), headers=headers)
                answer = connection.getresponse()
                body = answer.read()
            finally:
                connection.close()
            left_out = ("content-length", "connection", "transfer-encoding")
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in left_out}
            return self.reply(answer.status, kept, body)

    with serve_http(Proxy) as proxy:
        yield proxy


@pytest.fixture
def start_shop(tmp_path: Path, oidc_provider: OidcProvider) -> Iterator[Callable[[str], str]]:
    """Starts the shop in a process, at the root or under a path, and returns the URL."""
    with ExitStack() as stack:

        def start(root_path: str) -> str:
            port, log = free_port(), tmp_path / "server.log"
            public = stack.enter_context(strip_prefix(root_path, port)) if root_path else port
            url = f"http://127.0.0.1:{public}{root_path}"
            client = oidc_provider.add_client(f"{url}/docs/oauth2-redirect", public=True)
            oidc_provider.set_default_resource(API)
            settings = {
                "AUTH_ISSUER": oidc_provider.issuer,
                "AUTH_AUDIENCES": API,
                "AUTH_DOCS_CLIENT_ID": client.client_id,
                "BANDMASTER_SERVER_ROOT_PATH": root_path,
                "BANDMASTER_SERVER_PORT": str(port),
                "PYTHONPATH": str(Path(__file__).parent),
            }
            command = [sys.executable, "-m", "bandmaster.kernel.cli", "run", "docs_shop:app"]
            process = stack.enter_context(running(command, log, cwd=tmp_path, **settings))
            until_answered(lambda: urllib.request.urlopen(f"{url}/open", timeout=PATIENCE).close(), process, log)
            return url

        yield start


@pytest.mark.requirement("CA-12")
@pytest.mark.parametrize("root_path", ["", "/shop"])
def test_the_docs_page_logs_in(
    start_shop: Callable[[str], str], root_path: str, cdn: int, oidc_provider: OidcProvider, tmp_path: Path
) -> None:
    """Authorize opens the provider, exchanges the code with PKCE, and a protected route then answers 200."""
    url = start_shop(root_path)
    flags = [f"--host-resolver-rules=MAP {CDN}:443 127.0.0.1:{cdn}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with open_browser(f"{url}/docs", tmp_path, *flags, "--ignore-certificate-errors") as browser:
        page = browser.find_page(f"{url}/docs")
        page.until("document.querySelectorAll('.opblock').length === 2")
        locked = "[...document.querySelectorAll('.opblock')].filter(each => each.querySelector('.authorization__btn'))"
        assert ["/orders"] == page.evaluate(f"{locked}.map(each => each.querySelector('[data-path]').dataset.path)")
        assert "401" == call(page, "/orders")
        click(page, ".auth-wrapper .authorize")
        scopes = (
            "[...document.querySelectorAll('.modal-ux .scopes input')].map(each => [each.dataset.value, each.checked])"
        )
        assert [["read", False], ["openid", True]] == page.evaluate(scopes)
        click(page, ".modal-ux .scopes input[data-value=read]")
        click(page, ".modal-ux button.authorize")
        click(browser.find_page(oidc_provider.issuer), "button[value=alice]")
        page.until("[...document.querySelectorAll('.modal-ux button')].some(each => each.textContent === 'Logout')")
        click(page, ".modal-ux .close-modal")
        assert "200" == call(page, "/orders")
        body = page.evaluate("document.querySelector('.live-responses-table .highlight-code').innerText")
    assert '"hello": "alice"' in str(body)


def call(page, path: str) -> str:
    """Execute an operation of the page, and return the status of the response."""
    block = f".opblock:has([data-path='{path}'])"
    if page.evaluate(f"document.querySelector({block + '.is-open'!r}) === null"):
        click(page, f"{block} .opblock-summary-control")
        click(page, f"{block} .try-out__btn")
    if page.evaluate(f"document.querySelector({block + ' .btn-clear'!r}) !== null"):
        click(page, f"{block} .btn-clear")
        page.until(f"document.querySelector({block + ' .live-responses-table'!r}) === null")
    click(page, f"{block} .execute")
    status = f"document.querySelector({block + ' .live-responses-table tbody .response-col_status'!r})"
    page.until(f"/[0-9]{{3}}/.test({status}?.textContent) || document.querySelector('.errors-wrapper') !== null")
    return str(page.evaluate(f"{status}?.textContent ?? 'failed'")).strip()[:3]
