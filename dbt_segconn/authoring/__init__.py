"""What helps to write mappings: validation, schemas, suggestions, imports, comparisons."""
