"""Traces and baggage in the headers of W3C, and whose headers are trusted."""
