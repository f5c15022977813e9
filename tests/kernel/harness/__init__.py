"""Tools for testing lifecycle engines: virtual time, faulty components, a record, and the laws as an oracle."""
