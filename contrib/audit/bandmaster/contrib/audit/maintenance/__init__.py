"""Export, prune and erase entries, and acknowledge breaks."""
