"""A network as named steps, torch's reference for each, and the verdict on a student's."""
