"""Why a gradient is wrong: trials put mistakes into the reverse pass, a search finds those that make the numbers."""
