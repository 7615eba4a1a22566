"""Which differences are faults: not those at kinks; and what a backward does beside its numbers."""
