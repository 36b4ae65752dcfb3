"""One sync: what has changed is staged, delivered and settled."""
