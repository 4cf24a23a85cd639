"""Tells whether this process answers."""
