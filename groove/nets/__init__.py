"""Agents' networks and critics, the recurrent net of learned rules, distributions of actions, and returns."""
