"""Make keys for tests."""


async def create(keys, **options):
    """The text of a new key, and the record."""
    made = await keys.create(options.pop("owner", "acme"), **options)
    return made.key.get_secret_value(), made.record
