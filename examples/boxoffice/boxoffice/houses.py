"""Which houses there are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class Houses:
    """The houses that there are, by their ids."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.titles = MappingProxyType(dict(titles))
