"""One run and its syncs: choose the mappings, stage their changes, deliver and settle them."""
