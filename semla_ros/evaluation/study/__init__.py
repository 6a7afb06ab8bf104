"""Strategies side by side on the same frames, saved as one `Study`."""
