"""What Alembic runs for every command: the environment of all parts' migrations."""

from bandmaster.contrib.persistence.environment import run_environment

run_environment()
