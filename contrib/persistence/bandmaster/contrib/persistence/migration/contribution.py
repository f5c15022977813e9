"""How a part contributes its migrations to the plan, and how they are collected from a plan.

This is the only use of the kernel's ``descriptions``: contributions that are data, and do nothing when they start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sqlalchemy import MetaData

from bandmaster.contrib.persistence.migration.branch_check import check_branches
from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.kernel import LifespanBand, LifespanContribution, Named, PlanError, descriptions, lifespan

if TYPE_CHECKING:
    from bandmaster.kernel import Plan


def migrations(
    name: str,
    location: str | Path,
    *,
    metadata: MetaData | None = None,
    depends_on: Iterable[str] = (),
) -> LifespanContribution:
    """A component that only provides a part's `Migrations`, as ``Annotated[Migrations, Named(name)]``.

    An entry point of the group ``bandmaster.lifespan`` names the component, so that trust, ``disable`` and the plan
    apply to migrations as to other parts. The arguments are those of `Migrations`.

    Raises:
        ValueError: an argument is of another form; the message names the argument.
    """
    described = Migrations(name, location, metadata, tuple(depends_on))

    async def provide() -> AsyncIterator[Any]:
        yield described

    provide.__annotations__ |= {"return": AsyncIterator[Annotated[Migrations, Named(name)]]}
    return lifespan(
        band=LifespanBand.PERSISTENCE,
        name=f"{name}_migrations",
        description=f"The migrations of {name!r}: {location}.",
    )(provide)


def collect(plan: Plan) -> tuple[Migrations, ...]:
    """The migrations of all parts of a plan, in the plan's order. Nothing is started, and no database is opened.

    Raises:
        MigrationError: migrations can't be found, or don't fit together; the message lists every problem.
    """
    try:
        parts = descriptions(plan, Migrations)
    except PlanError as error:
        advice = "make it with bandmaster.contrib.persistence.migrations(...)"
        raise MigrationError(f"{'; '.join(problem.message for problem in error.problems)} {advice}") from error
    check_branches(parts)
    return parts
