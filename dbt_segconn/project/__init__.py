"""What users and dbt have written: files → the syncs that they describe, or every error in them."""
