"""The edit that mends a backward: one change in the user's syntax tree, proven with every probe."""
