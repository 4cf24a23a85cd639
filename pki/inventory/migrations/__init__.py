"""The schema's history; `pki.inventory.migrate` runs it."""
