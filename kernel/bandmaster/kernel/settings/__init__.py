"""Read settings from the environment and show them."""
