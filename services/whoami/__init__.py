"""Tells the caller what the server knows of it."""
