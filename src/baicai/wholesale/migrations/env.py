"""Run by Alembic for each command, on the connection that `catalog.py` passes."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
