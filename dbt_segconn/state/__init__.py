"""State in the warehouse: the history, discards and locks of all mappings; records and outbox of each mapping."""
