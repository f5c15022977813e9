"""Transactional outbox: messages written in a transaction, and the relay that publishes them."""
