"""The export of spans: a bounded queue with a thread, the exporters, redaction, and reports of outages."""
