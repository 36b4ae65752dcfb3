"""Local web pages: a debugger, which replaces Segment's API in tests, and a page of syncs."""
