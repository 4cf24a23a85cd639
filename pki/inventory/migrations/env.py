"""What Alembic runs: on the connection, and in the transaction, that it is handed."""

from alembic import context

from pki.inventory.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Both databases create tables within transactions: cut off in the middle, nothing has happened.
    transactional_ddl=True,
)
context.run_migrations()
