"""An append-only, tamper-evident record of who did what, in memory or in a database."""
