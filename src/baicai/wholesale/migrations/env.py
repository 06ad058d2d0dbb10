"""Alembic runs this for each command, on the connection that `catalog.py` hands it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
