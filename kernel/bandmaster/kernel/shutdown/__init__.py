"""Stop signals and their escalation, and the watchdog that ends an overdue process."""
