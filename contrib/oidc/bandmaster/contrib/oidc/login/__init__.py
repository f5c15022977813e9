"""Login at an OpenID provider: the relying party, its session layer, and its routes below ``/auth``."""
