"""Schedules, and the scheduler that sends tasks at their times."""
