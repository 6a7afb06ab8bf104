"""Ground truth: label images found, read, and put into the classes of a bundle."""
