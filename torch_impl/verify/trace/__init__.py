"""The forward pass as a tape of primitive operations, whoever wrote it."""
