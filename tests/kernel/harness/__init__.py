"""A bench for lifecycle engines: virtual time, components with faults, a recorder, and the laws as an oracle."""
