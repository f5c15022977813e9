"""Show the reference's builder, Griffe, the public names of packages that export lazily."""

from __future__ import annotations

import ast
from typing import Any

from griffe import Extension, Module


class LazyExports(Extension):
    """Reads the table of `bandmaster.kernel.export_lazily` in the place of a written ``__all__``.

    Griffe doesn't run the packages, and so doesn't see the ``__all__`` that the call makes.
    """

    def on_module_members(self, *, node: Any, mod: Module, **_: Any) -> None:
        """List the names of the table as the module's exports."""
        for statement in getattr(node, "body", ()):
            match statement:
                case ast.Expr(ast.Call(func=ast.Name("export_lazily"), args=[_, table])):
                    # In the table's order, which is the order of the reference.
                    mod.exports = [name for names in ast.literal_eval(table).values() for name in names]
