"""The kernel: finds installed parts, plans, starts, serves, drains and stops them."""
