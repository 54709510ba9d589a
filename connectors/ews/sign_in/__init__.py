"""How requests prove who sends them, and what keeps an account from being locked out by that."""
