"""From captured frames to a new adapter: gaps of the library, and what closes them."""
