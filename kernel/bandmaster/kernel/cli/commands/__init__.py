"""The kernel's own commands, one in each file."""

OWN_COMMANDS = ("plan", "check", "run", "config", "plugins", "timeline", "lock")
"""Their names, in the order of the help. A contributed command can't have one of them."""
