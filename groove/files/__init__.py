"""Checkpoints, rules, curricula and journals on disk: written whole or not at all, and checked before they are used."""
