"""The principal in the labels of a message: written by the sender, and read where the task runs."""

from __future__ import annotations

import json
from typing import Any, cast, get_args

from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

from bandmaster.contrib.oidc.principal import Kind, Principal, adopt_principal, current_principal

LABEL = "bm_principal"
"""The label with the sender of a message."""


class PrincipalMiddleware(TaskiqMiddleware):
    """Sends the principal with a message, and sets the principal before the task runs.

    The principal in a task has no claims and no expiry: the task may run long after the token has expired. Whoever can
    write to the queue can claim to be anybody, as they can send any task.
    """

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """Add the principal, unless the message has one: a replayed message keeps the sender."""
        principal = current_principal()
        if principal is not None:
            message.labels.setdefault(LABEL, render_principal(principal))
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Set the principal of the task; nobody if the message has none."""
        adopt_principal(parse_principal(message.labels.get(LABEL)))
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Forget the principal."""
        adopt_principal(None)


def render_principal(principal: Principal) -> str:
    """The principal as JSON, without claims and times."""
    fields = {
        "sub": principal.subject,
        "iss": principal.issuer,
        "kind": principal.kind,
        "scopes": sorted(principal.scopes),
        "client_id": principal.client_id,
    }
    return json.dumps({name: value for name, value in fields.items() if value})


def parse_principal(label: object) -> Principal | None:
    """The principal in a label; None if the label has none. Other programs may have set the label."""
    if not isinstance(label, str):
        return None
    try:
        fields = json.loads(label)
        subject, scopes, kind = fields["sub"], fields.get("scopes", []), fields.get("kind", "token")
        texts = (subject, fields.get("iss", ""), fields.get("client_id") or "", *scopes)
        if kind not in get_args(Kind) or not all(isinstance(text, str) for text in texts):
            return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Principal(
        subject,
        issuer=fields.get("iss", ""),
        scopes=frozenset(scopes),
        kind=cast("Kind", kind),
        client_id=fields.get("client_id"),
    )
