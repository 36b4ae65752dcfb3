"""One run, and the syncs in it: which mappings go, what changed, how it is delivered and settled."""
