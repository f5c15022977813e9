"""A bookshop: a FastAPI application as people write them, which knows nothing of bandmaster."""
