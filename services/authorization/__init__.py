"""Who may do what: authentication is not authorization.

`authorizers` are functions over an identity, `paths` says which path a request really asks for, `policy` puts both
together from a file, `gate` stands in front of the application and asks.
"""
