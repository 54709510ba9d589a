"""A simulator of Exchange Online: Entra's sign-in and the part of Microsoft Graph that a contact sync uses."""
