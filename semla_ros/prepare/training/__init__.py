"""Training of CLIP, CAT-Seg and the adapters of a library. The only place for optimisers."""
