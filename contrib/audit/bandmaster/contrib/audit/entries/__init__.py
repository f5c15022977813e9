"""An audit entry: its fields, its JSON, and filters for it."""
