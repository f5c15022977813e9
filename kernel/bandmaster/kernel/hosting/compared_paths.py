"""Refuse mounted apps whose routes match other paths than the layers compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bandmaster.kernel.errors import PlanError, Problems
from bandmaster.kernel.hosting.frameworks import find_root_path
from bandmaster.kernel.hosting.mounted import NestedApplication, find_mounts, unwrap_app
from bandmaster.kernel.planning.plan import Layer


def check_compared_paths(host: Any, layers: Iterable[Layer]) -> None:
    """Check that layers which compare paths see those that the routes of mounted apps match.

    The host's own ``root_path`` is in the scope before the layers. A mounted app replaces it when the app is called:
    where the app is mounted at ``/``, or by a host name, its routes also answer below that path.

    Raises:
        PlanError: a mounted app has a ``root_path`` of its own, and a layer compares paths.
    """
    names = [repr(layer.name) for layer in layers if layer.contribution.compares_paths]
    if not names:
        return
    problems = Problems()
    for mount in find_mounts(host):
        core = unwrap_app(mount.app)
        inner = getattr(core, "host", None) if isinstance(core, NestedApplication) else mount.app
        root_path = find_root_path(inner)
        if root_path:
            problems.add(
                f"the FastAPI app mounted at {mount.path or '/'!r} has root_path={root_path!r}, which it sets after "
                f"the layers, so that {' and '.join(names)} would compare other paths than its routes do.",
                "Pass root_path to the server or to the host, and not to an app that is mounted.",
            )
    problems.raise_if_any(PlanError)
