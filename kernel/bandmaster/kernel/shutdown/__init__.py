"""Stop signals, and the watchdog that ends a process that doesn't stop."""
