"""What is pulled and kept of a tenant: sources, mailboxes, contacts, photos, and what a run does to them."""
