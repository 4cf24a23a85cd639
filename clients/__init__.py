"""Who calls: a client for each HTTP version, locked to one authority, presenting one credential."""
