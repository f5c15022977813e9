"""Alembic's environment for every command: the migrations of all parts."""

from bandmaster.contrib.persistence.migration.environment import run_environment

run_environment()
