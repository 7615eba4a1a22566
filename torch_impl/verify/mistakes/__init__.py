"""The mistakes that the verifier knows by name."""
