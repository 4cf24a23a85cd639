"""Greets the caller by the name in the certificate."""
