"""Frames that the library does not cover, kept on disk: written by the node, read by the loop.

    captures/
      capture.json            whose navigator made the embeddings
      <stamp>.png             the image, as the network saw it (or as the user's filter left it)
      <stamp>.mask.png        the mask that was served for it: a proposal for labelling
      <stamp>.json            stamp, embedding, mix, support, classes, checksums; written last

A frame is there when its record is there, so that a process that is killed leaves whole frames.
"""
