"""The Prometheus endpoint: the metrics of all processes of an application, in one scrape."""
