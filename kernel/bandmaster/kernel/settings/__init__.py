"""Settings: what the kernel and its parts read from the environment."""
