"""One run: which syncs go now, by which processes, and what is told of them."""
