"""What a mailbox or a public folder holds: contact folders, their contacts, and photos."""
