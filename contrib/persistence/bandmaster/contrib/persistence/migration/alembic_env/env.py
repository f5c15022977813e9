"""What Alembic runs for every command: the environment of all parts' migrations."""

from bandmaster.contrib.persistence.migration.environment import run_environment

run_environment()
