"""Tell the top-level navigation of a browser from every other request. Pure."""

from __future__ import annotations

from starlette.types import Scope


def is_navigation(scope: Scope) -> bool:
    """Whether a browser asks for a page to show in the window, and so can be sent to a login.

    Browsers say so by ``Sec-Fetch-Mode`` and ``Sec-Fetch-Dest`` (Fetch Metadata). Of others, a request for HTML counts
    that isn't marked as a script's. A script's request can't follow a redirect to a provider.
    """
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, value)
    mode = headers.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate" and headers.get(b"sec-fetch-dest", b"document") == b"document"
    if headers.get(b"x-requested-with") is not None:
        return False
    return b"text/html" in headers.get(b"accept", b"").lower()


def is_embedded(scope: Scope) -> bool:
    """Whether a page loads the answer as a part of itself, such as an image or a frame, or before the user asks for it.

    Browsers say so by ``Sec-Fetch-Dest`` (Fetch Metadata) and ``Sec-Purpose`` (Fetch, section 4.6).
    """
    headers = dict(scope["headers"])
    destination = headers.get(b"sec-fetch-dest", b"document")
    return destination not in (b"document", b"empty") or b"prefetch" in headers.get(b"sec-purpose", b"")


def find_path(scope: Scope) -> str:
    """The path of a request within the application, without the prefix of a mount."""
    root: str = scope.get("root_path", "").rstrip("/")
    path: str = scope["path"]
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
