"""An assignment as it lies on the disk: its release, its graders, its settings."""
