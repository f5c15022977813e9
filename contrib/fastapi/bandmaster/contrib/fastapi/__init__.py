"""FastAPI as the host: resources in handlers, errors as problems, an OpenAPI document that says so."""
