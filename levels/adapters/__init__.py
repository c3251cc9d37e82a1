"""Families of levels from other libraries, and for them. One module a library, imported only by who uses it."""
