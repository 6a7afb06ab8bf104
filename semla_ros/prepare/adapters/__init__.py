"""Adapters' folders as they are written: made, sealed, taken into a library, renamed, removed."""
