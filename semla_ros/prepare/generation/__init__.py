"""Adapters from words: an entry of the library for a domain that nobody has frames of."""
