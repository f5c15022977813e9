"""The servers that the launcher can run, each behind the same small interface."""
