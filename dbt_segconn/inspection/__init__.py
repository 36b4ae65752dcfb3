"""Read-only views of the project and its state: previews, estimates, the history of syncs."""
