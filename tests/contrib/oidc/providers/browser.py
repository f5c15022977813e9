"""A person's browser without a window: follows redirects, keeps cookies, and fills in a provider's forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import httpx2
from tests.contrib.oidc.providers.process import ProviderProcess

_MOST_STEPS = 20


@dataclass(frozen=True)
class Callback:
    """A redirect from the provider to the application, which the browser hasn't followed."""

    url: str
    """The whole address."""
    form: dict[str, str] | None = field(default=None, repr=False)
    """The fields that are posted there with ``response_mode=form_post``; None with a redirect."""

    @property
    def parameters(self) -> dict[str, str]:
        """The response parameters, from the query or the form."""
        if self.form is not None:
            return self.form
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}


class Browser:
    """One person's browser at a provider: the second login needs no name, as long as the provider's session lives."""

    def __init__(self, process: ProviderProcess, client: httpx2.AsyncClient) -> None:
        self._process = process
        self._client = client

    async def follow(self, url: str, *, user: str | None = None, deny: bool = False) -> Callback:
        """Open an address of the provider, fill in its forms, and stop at the first redirect that leaves the provider.

        With ``user``, that person logs in where the provider asks; with ``deny``, nobody does.

        Raises:
            AssertionError: the provider shows an error, or asks who logs in, and no user is named.
        """
        answer = await self._client.get(url)
        for _ in range(_MOST_STEPS):
            if answer.is_redirect:
                target = str(answer.next_request.url if answer.next_request else answer.headers["location"])
                if not self._is_own(target):
                    return Callback(target)
                answer = await self._client.get(target)
                continue
            assert answer.status_code == 200, f"{answer.status_code} at {answer.url.path}: {answer.text}"
            form = _read_form(answer.text)
            if not form.found:
                raise AssertionError(f"the provider stays at {answer.url.path}: {answer.text}")
            action = str(answer.url.join(form.action))
            if not self._is_own(action):
                return Callback(action, form.fields)
            answer = await self._client.post(action, data=form.fields | _choose(form, user, deny=deny))
        raise AssertionError(f"the provider redirects for ever, at last to {answer.url.path}")

    def _is_own(self, url: str) -> bool:
        return url.startswith(f"{self._process.issuer}/")


def _choose(form: _Form, user: str | None, *, deny: bool) -> dict[str, str]:
    if "logout" in form.buttons:
        return {"logout": "yes"}
    if deny:
        return {"deny": "yes"}
    assert user is not None, "the provider asks who logs in: name a user"
    return {"user": user}


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found, self.action = True, known.get("action", "")
        elif tag == "input" and "name" in known:
            self.fields[known["name"]] = known.get("value", "")
        elif tag == "button" and "name" in known:
            self.buttons.add(known["name"])


def _read_form(page: str) -> _Form:
    form = _Form()
    form.feed(page)
    form.close()
    return form
