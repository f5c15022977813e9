"""The log of a whole application: one format for every library and server, the request's fields in every event, no secrets."""
