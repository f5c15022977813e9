"""Login at an OpenID provider: the relying party, the session layer, and the routes below ``/auth``."""
