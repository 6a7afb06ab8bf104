"""Which adapters there are, which of them fit, and how they combine."""
