"""Planning: from contributions to a checked `Plan`, which opens nothing. For tools and tests that read plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel.lazy import export_lazily

if TYPE_CHECKING:
    from bandmaster.kernel.contributions.keys import Collected as Collected
    from bandmaster.kernel.contributions.signatures import Kind as Kind
    from bandmaster.kernel.contributions.signatures import Need as Need
    from bandmaster.kernel.planning.explanation import Explanation as Explanation
    from bandmaster.kernel.planning.parts import Omission as Omission
    from bandmaster.kernel.planning.plan import Component as Component
    from bandmaster.kernel.planning.plan import Edge as Edge
    from bandmaster.kernel.planning.plan import Layer as Layer
    from bandmaster.kernel.planning.plan import Plan as Plan
    from bandmaster.kernel.planning.plan import Stage as Stage
    from bandmaster.kernel.planning.providers import Chain as Chain
    from bandmaster.kernel.planning.providers import Provider as Provider
    from bandmaster.kernel.planning.providers import Providers as Providers
    from bandmaster.kernel.planning.start_policies import StartPolicy as StartPolicy

export_lazily(
    __name__,
    {
        ".contributions.keys": ["Collected"],
        ".contributions.signatures": ["Kind", "Need"],
        "explanation": ["Explanation"],
        "parts": ["Omission"],
        "plan": ["Component", "Edge", "Layer", "Plan", "Stage"],
        "providers": ["Chain", "Provider", "Providers"],
        "start_policies": ["StartPolicy"],
    },
)
