"""Verify the chains of a store or of an export."""
