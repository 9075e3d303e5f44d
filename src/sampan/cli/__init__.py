"""The command line: arguments, progress and plain words. What is done stands in `cluster`."""
