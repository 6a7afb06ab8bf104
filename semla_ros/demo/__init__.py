"""A small driving world, the model trained on it, and the drive that shows both to a newcomer."""
