"""The inventory: every certificate that was issued, by serial number, in SQLite or PostgreSQL.

    rows.py          what it remembers, as values; no database in sight
    schema.py        the tables (SQLAlchemy Core); migrations/ makes them (Alembic)
    database.py      which database: a file or a URL, into an engine
    translation.py   what databases say, in our words: the one seam
    store.py         Inventory: opened, and asked in transactions
    authorities.py names.py certificates.py revocations.py   what a transaction offers, a table each

SQLAlchemy takes a quarter of a second to import: only `rows` is imported by those who may never ask.
"""
