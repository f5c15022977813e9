"""Build and run the request stack."""
