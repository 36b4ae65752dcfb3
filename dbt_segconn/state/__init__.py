"""What the warehouse keeps of syncs: history, locks, and of each mapping its records, outbox and discards."""
