"""The simulated company: people, groups, mailboxes and their contacts, with a journal of every change. No HTTP."""
