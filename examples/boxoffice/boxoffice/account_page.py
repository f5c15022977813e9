"""Fill in the page of an account. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from string import Template

from bandmaster.contrib.oidc import ApiKey

_NEW = """<p class="new" role="status">Your new key, which is shown this once:<br><code>{key}</code></p>"""
_ROW = """<tr>
  <td>{name}</td><td><code>{id}…</code></td><td>{state}</td><td>{used}</td>
  <td>{buttons}</td>
</tr>"""
_BUTTON = """<form method="post" action="/account/keys/{id}/{action}"><button>{label}</button></form>"""


def render_account(template: str, subject: str, keys: Iterable[ApiKey], new: str | None) -> str:
    """The page of a person, with their keys, and with a new key if one was just made."""
    rows = [_render_row(key) for key in sorted(keys, key=lambda key: key.created_at)]
    return Template(template).substitute(
        subject=escape(subject),
        new="" if new is None else _NEW.format(key=escape(new)),
        keys="\n".join(rows) or '<tr><td colspan="5">You have no keys.</td></tr>',
    )


def _render_row(key: ApiKey) -> str:
    is_replaced = key.replaced_by is not None
    buttons = [] if is_replaced else [_BUTTON.format(id=key.id, action="rotate", label="Rotate")]
    buttons.append(_BUTTON.format(id=key.id, action="revoke", label="Revoke"))
    until = "" if key.expires_at is None else f"until {_render_time(key.expires_at)}"
    return _ROW.format(
        name=escape(key.name),
        id=escape(key.id),
        state=f"replaced, accepted {until}" if is_replaced else until or "accepted",
        used="never" if key.last_used_at is None else _render_time(key.last_used_at),
        buttons=" ".join(buttons),
    )


def _render_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
