"""The pages of the provider for development."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from bandmaster.contrib.oidc.devprovider.settings import DevUser

_LAYOUT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 3rem auto; padding: 0 1rem; }}
  h1 {{ font-size: 1.4rem; }}
  form {{ display: grid; gap: .5rem; }}
  button {{ font: inherit; padding: .4rem .9rem; cursor: pointer; }}
  p {{ opacity: .75; font-size: .9rem; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def render_login_page(users: Iterable[DevUser], client_id: str, hint: str | None) -> str:
    """The page on which a person chooses who to be. The form returns to its own address."""
    buttons = "\n".join(
        f'<button name="user" value="{escape(user.subject)}"{" autofocus" if user.subject == hint else ""}>'
        f"{escape(user.subject)}</button>"
        for user in users
    )
    return _render(
        "Log in",
        f"<p>{escape(client_id)} asks who you are. This provider is for development: anyone may log in as anyone.</p>\n"
        f'<form method="post">\n{buttons}\n<button name="deny" value="yes">Cancel</button>\n</form>',
    )


def render_logged_out_page() -> str:
    """The end of a logout that names no address to return to."""
    return _render("Logged out", "<p>The provider for development keeps no session.</p>")


def render_error_page(description: str) -> str:
    """A request that can't be answered by a redirect to the application (RFC 6749, section 4.1.2.1)."""
    return _render("This request can't be answered", f"<p>{escape(description)}</p>")


def _render(title: str, body: str) -> str:
    return _LAYOUT.format(title=escape(title), body=body)
