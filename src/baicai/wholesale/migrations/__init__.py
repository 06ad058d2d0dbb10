"""Alembic environment: schema migrations of the catalog."""
