"""SQLAlchemy's engines for one database: pools with a bound, connect arguments by driver, listeners."""
