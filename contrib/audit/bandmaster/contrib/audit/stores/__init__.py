"""Where entries are kept: in memory, or in the tables of a database."""
