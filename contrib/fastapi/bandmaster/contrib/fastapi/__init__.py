"""FastAPI as the host: resources by type in handlers, errors as problems, an OpenAPI document that says so."""

from __future__ import annotations

from bandmaster.contrib.fastapi.lookups import MissingResourceError, Resource, resource_key
from bandmaster.contrib.fastapi.needs import check_resources
from bandmaster.contrib.fastapi.openapi import install_problems

__all__ = ["MissingResourceError", "Resource", "check_resources", "install_problems", "resource_key"]
