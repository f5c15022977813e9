"""Contribute the migrations of a part as a value, and collect those of all parts of a plan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

from bandmaster.contrib.persistence.migration.branch_check import check_branches
from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.kernel import PlanError, ValueContribution, value

if TYPE_CHECKING:
    from bandmaster.kernel import Plan


def migrations(
    name: str,
    location: str | Path,
    *,
    metadata: MetaData | None = None,
    depends_on: Iterable[str] = (),
) -> ValueContribution:
    """A value that holds a part's `Migrations`, provided as ``Annotated[Migrations, Named(name)]``.

    An entry point of the group ``bandmaster.values`` names the value, so that trust, ``disable`` and the plan
    apply to migrations as to other parts. The arguments are those of `Migrations`.

    Raises:
        ValueError: an argument is of another form; the message names the argument.
    """
    return value(
        Migrations(name, location, metadata, tuple(depends_on)),
        name=f"{name}_migrations",
        provides=(Migrations, name),
        description=f"The migrations of {name!r}: {location}.",
    )


def collect(plan: Plan) -> tuple[Migrations, ...]:
    """The migrations of all parts of a plan, in the order of their names. Starts nothing and opens no database.

    Raises:
        MigrationError: migrations can't be found, or don't fit together; the message lists every problem.
    """
    try:
        parts = plan.values_of(Migrations)
    except PlanError as error:
        advice = "make it with bandmaster.contrib.persistence.migrations(...)"
        raise MigrationError(f"{'; '.join(problem.message for problem in error.problems)} {advice}") from error
    check_branches(parts)
    return parts
