"""How the catalogue's tables came to be, step by step: Alembic's folder."""
