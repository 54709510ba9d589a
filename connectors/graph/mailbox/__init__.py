"""What mailboxes hold: contact folders, their contacts, and photos; many mailboxes read at once."""
