"""One shared HTTP client for each application: bounded, with deadlines and retries, closed with the application."""
