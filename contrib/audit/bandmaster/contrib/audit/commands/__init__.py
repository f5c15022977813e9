"""The command bandmaster audit."""
