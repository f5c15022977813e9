"""The chain of hashes: links, commitments, checkpoints, and the verification of all."""
