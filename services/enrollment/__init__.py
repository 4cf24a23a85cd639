"""Certificates for those who call: renewed for their identity, or a first one for a one-time token."""
