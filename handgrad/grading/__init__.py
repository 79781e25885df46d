"""An assignment and its hidden graders: evidence from the sandbox in, a report out."""
