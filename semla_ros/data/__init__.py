"""Frames with a name and the truth about them: recordings, folders, label maps, domains."""
