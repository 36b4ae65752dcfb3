"""Readers of the project's files: they return its mappings, or all errors in them."""
