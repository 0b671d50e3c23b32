"""What Alembic runs: migrate over the connection that `migrations.upgrade` hands over."""

import sqlalchemy as sa
from alembic import context

connection = context.config.attributes["connection"]
connection.execute(sa.text("create schema if not exists textmill"))
context.configure(connection=connection, version_table_schema="textmill")
with context.begin_transaction():
    context.run_migrations()
    # In the same transaction, and not in roles.sql: that may have to wait for someone more
    # privileged, and until then every login could run functions with the owner's rights.
    connection.execute(sa.text("revoke execute on all functions in schema textmill from public"))
