"""How fast the stages are, and what that is made of."""
