"""Bearer tokens: parsing, checks and signatures."""
