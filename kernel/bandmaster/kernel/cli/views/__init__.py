"""Command output for people and for programs. Pure."""
