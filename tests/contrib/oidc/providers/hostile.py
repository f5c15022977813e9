"""An OpenID provider that lies on command, and checks no client, code or token itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tests.contrib.oidc.providers.provider import Provider

PROGRAM = "hostile.mjs"

Subject = Literal["id_token", "access_token", "userinfo", "introspection"]
Forgery = Literal["signature", "none", "stranger", "hmac", "garbage"]
"""The ways to forge a signed token.

- ``signature``: one bit of the signature is changed.
- ``none``: the algorithm is "none", and there is no signature.
- ``stranger``: a key that isn't published signs, under the id of the published key.
- ``hmac``: the published key, as PEM, is the secret of an HMAC.
- ``garbage``: something else than a token.
"""


class HostileProvider(Provider):
    """The ``oauth2-mock-server`` of npm: any client, any code, the user ``johndoe``, and lies on command."""

    @property
    def token_path(self) -> str:
        """The path of the token endpoint, for faults and counts."""
        return "/token"

    def lie(
        self,
        about: Subject,
        *,
        payload: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
        forge: Forgery | None = None,
    ) -> None:
        """Change the claims about a subject, or forge the token.

        ``payload`` and ``header`` are merge patches: None removes a member.
        """
        told = {"payload": payload, "header": header, "forge": forge}
        self.process.command("lie", about=about, **{key: value for key, value in told.items() if value})

    def lie_in_callback(self, **parameters: str | None) -> None:
        """Change the parameters of the redirect to the application, such as ``iss`` or ``state``; None removes one."""
        self.process.command("lie", about="callback", parameters=parameters)

    def tell_the_truth(self) -> None:
        """Take back every lie."""
        self.process.command("tell_the_truth")

    def add_key(self, algorithm: str, kid: str) -> None:
        """Publish one more key. The keys take turns at signing."""
        self.process.command("add_key", algorithm=algorithm, kid=kid)

    def sign(
        self,
        payload: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
        kid: str | None = None,
    ) -> str:
        """A token by a published key. ``payload`` and ``header`` are merge patches of the usual ones: None removes."""
        given = {"payload": payload or {}, "header": header or {}}
        return str(self.process.command("sign", **given, **({} if kid is None else {"kid": kid})))
