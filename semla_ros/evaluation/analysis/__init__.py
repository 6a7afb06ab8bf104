"""What a saved study says beyond its table: pure functions of arrays, no recording, no model."""
