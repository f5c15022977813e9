"""Render the few pages that a login shows. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

_SCRIPT = "document.forms[0].submit()"
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode("ascii")

REPOST_POLICY = f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; base-uri 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of the page that sends a form by a script; no other script may run."""
PAGE_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of the other pages."""


def render_repost(action: str, fields: Mapping[str, str]) -> str:
    """A page that sends a form to our own origin at once; a button does so where scripts don't run."""
    return _render("Logging in", f"{_render_form(action, fields, 'Continue')}<script>{_SCRIPT}</script>")


def render_logout(action: str, fields: Mapping[str, str]) -> str:
    """A page that asks whether to log out."""
    return _render("Log out", f"<p>Do you want to log out?</p>{_render_form(action, fields, 'Log out')}")


def render_choice(providers: Iterable[tuple[str, str]]) -> str:
    """A page that lists the providers at which one can log in: names and addresses."""
    links = "".join(f'<li><a href="{escape(url)}">{escape(name)}</a></li>' for name, url in providers)
    return _render("Log in", f"<p>Log in with:</p><ul>{links}</ul>")


def _render_form(action: str, fields: Mapping[str, str], button: str) -> str:
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    return f'<form method="post" action="{escape(action)}">{inputs}<button>{escape(button)}</button></form>'


def _render(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1>{body}</html>\n"
    )
