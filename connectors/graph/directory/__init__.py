"""Who there is: people, groups and contacts of the organisation, and what an application may ask of them."""
