"""What the process says to whoever started it."""

OK, FAILED, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130
