"""What the debugger and the page of the syncs share: the files of their pages."""
