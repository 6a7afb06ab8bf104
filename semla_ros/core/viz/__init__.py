"""Colours for people: palette, overlay, legend; numpy in, numpy out."""
