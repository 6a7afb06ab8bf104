"""CAT-Seg and its CLIP in plain PyTorch: configuration, towers, aggregator.

Only `config` and `layers` can be imported without torch; every other module here needs it.
"""
