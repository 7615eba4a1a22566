"""Where a backward went wrong in the user's own lines: each value is watched, and compared with what it could be."""
