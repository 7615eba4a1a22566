"""The benchmark: both twins beside what a person would use instead, and how the time grows with the task."""
