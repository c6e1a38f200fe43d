"""What Alembic runs around the migrations: on the connection, and in the transaction, it is given.

Optuna keeps its own ``alembic_version`` in databases it uses; our table has another name.
"""

from __future__ import annotations

from alembic import context

from isoshare.storage.schema import VERSION_TABLE
from isoshare.storage.tables import Base

asked = context.config.attributes
context.configure(
    connection=asked["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
    on_version_apply=asked["on_version_apply"],
)
with context.begin_transaction():
    context.run_migrations()
