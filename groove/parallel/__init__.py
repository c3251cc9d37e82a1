"""Devices and processes that share a run, and what depends on the platform."""
