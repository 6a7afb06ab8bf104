"""Files and bytes from elsewhere, read within bounds of memory and time."""
