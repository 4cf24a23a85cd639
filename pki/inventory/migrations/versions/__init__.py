"""One module a version: v0001, v0002..."""
