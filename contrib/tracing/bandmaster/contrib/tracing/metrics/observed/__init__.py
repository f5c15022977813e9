"""Observe the running application: components, budgets, pools, the queue and its tasks."""
