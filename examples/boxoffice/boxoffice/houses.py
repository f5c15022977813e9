"""The list of houses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class Houses:
    """The titles of all houses, by id."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.titles = MappingProxyType(dict(titles))
