"""Providers of tokens: their discovery documents and their keys."""
