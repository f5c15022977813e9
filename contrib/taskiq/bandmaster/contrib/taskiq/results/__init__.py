"""Results and progress of tasks."""
