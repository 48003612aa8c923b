"""Alembic's entry: runs migrations over the connection that hit.db hands over."""

from alembic import context

from hit.db.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
