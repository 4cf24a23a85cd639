"""What clients and services agree on: the only part of `services` that clients may import."""
