"""The kernel's own commands, one in each file."""

OWN_COMMANDS = ("plan", "check", "run", "exec", "config", "plugins", "timeline", "lock", "new")
"""Their names, in the order of the help. A contributed command can't have one of them."""
