"""Make the plan: check parts and order them. Pure."""
