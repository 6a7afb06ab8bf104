"""Everything that can only be known on a GPU, measured by one command: scripts/gpu_check."""
