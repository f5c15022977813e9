"""Settings: values that the kernel and its parts read from the environment."""
