"""Lazy exports: a public name of a package is imported on first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any


def export_lazily(package: str, homes: Mapping[str, Iterable[str]]) -> None:
    """Give a package public names, without importing the modules that define them.

    ``homes`` maps modules, relative to the package, to the names that each defines; a module beside the package begins
    with a dot. The package gets ``__getattr__``, ``__dir__`` and ``__all__`` from that one table. Type checkers read
    the same names from an ``if TYPE_CHECKING:`` block, which a test of the kernel compares with the table::

        if TYPE_CHECKING:
            from shop.stock import Stock as Stock

        export_lazily(__name__, {"stock": ["Stock"]})
    """
    # Set from here, so that checkers see no __getattr__, for the sake of which they would accept every name.
    namespace = vars(sys.modules[package])
    home_of = {name: home for home, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(importlib.import_module(f".{home_of[name]}", package), name)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*namespace, *home_of})

    namespace |= {"__getattr__": __getattr__, "__dir__": __dir__, "__all__": sorted(home_of)}
