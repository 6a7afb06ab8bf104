"""Measuring: the live node, swaps side by side with other ways, soaks, and the page about it."""
