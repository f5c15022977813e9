"""Serve a host application while a kernel runs."""
