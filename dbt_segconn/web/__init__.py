"""Local web pages: a debugger that stands in for Segment, and a page that shows syncs."""
