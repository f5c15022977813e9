"""The commands ``bandmaster worker``, ``bandmaster scheduler`` and ``bandmaster deadletters``."""
