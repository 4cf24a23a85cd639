"""What tests of every kind share."""

from __future__ import annotations

from tests.support.postgresql import inventory_url, postgresql_server, postgresql_url

__all__ = ["inventory_url", "postgresql_server", "postgresql_url"]
