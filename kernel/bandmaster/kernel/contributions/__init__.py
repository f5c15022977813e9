"""What a part hands to the kernel."""
