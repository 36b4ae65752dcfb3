"""What commands print: text, JSON, tables, the progress of a run."""
