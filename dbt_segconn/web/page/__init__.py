"""The page of the syncs: what the state tables say, to look at."""
