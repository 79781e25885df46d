"""A lecture's own notebook, one long one, taken apart into the course's exercises."""
