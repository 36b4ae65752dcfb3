"""The page of syncs: its data, its assets, and its form as one HTML file."""
