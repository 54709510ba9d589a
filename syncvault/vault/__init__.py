"""The vault: the only code that seals, opens and tags rows. Built on crypto, policy, roots and the store."""
