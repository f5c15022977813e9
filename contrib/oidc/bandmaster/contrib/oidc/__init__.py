"""Bearer tokens, login, API keys and token stores, checked strictly by default."""
