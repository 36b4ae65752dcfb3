"""Tools for writing mappings: validation, schemas, suggestions, imports, comparisons."""
