"""Tells tools what is served here."""
