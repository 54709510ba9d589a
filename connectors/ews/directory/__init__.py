"""Who there is: entries, address lists and distribution lists, asked as the service account itself."""
