"""Segmenting with TensorRT: plans built ahead, weights refitted while frames flow.

Nothing here imports `tensorrt` when it is imported itself; `docs/tensorrt.md` tells the whole
story.
"""
