"""Images on their way through a labelling tool: sets of them, and the tools' own formats.

    <set>/
      set.json            the classes, and every image with size and checksum; written last
      images/<name>.png   what is to be labelled
      proposals/<name>.png  masks to begin with: class ids, 255 (65535) where nothing is proposed
      labels/<name>.png   what came back, in the same ids; `semla train` and `evaluate` read it

One file for each tool: `cvat`, `label_studio`, `coco`. Each makes bytes of a set's masks and masks
of bytes; `exchange` joins them with the set.
"""

FORMATS = ("cvat", "label-studio", "coco")
LOCAL_FILES = "/data/local-files/?d="
"""What precedes the names of images that Label Studio serves from a disk."""
