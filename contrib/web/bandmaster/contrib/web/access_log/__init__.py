"""The access log: records, their lines, and the sinks that write them."""
