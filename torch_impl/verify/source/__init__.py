"""The user's functions as source: where each stands in its file, and how to run one with other code in its place."""
