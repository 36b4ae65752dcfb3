"""The pages: the debugger, the page of syncs, live and as a report."""
