"""The command ``bandmaster audit``: verifies, lists, exports, prunes and erases entries of the audit trail."""

from __future__ import annotations

import typer

from bandmaster.contrib.audit.commands.reading import export, list_
from bandmaster.contrib.audit.commands.removing import erase, prune
from bandmaster.contrib.audit.commands.verify import acknowledge, checkpoint, verify

audit = typer.Typer(
    name="audit",
    help="Verify, list, export, prune and erase entries of the audit trail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
audit.command()(verify)
audit.command("list")(list_)
audit.command()(export)
audit.command()(checkpoint)
audit.command()(acknowledge)
audit.command()(prune)
audit.command()(erase)
