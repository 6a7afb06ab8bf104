"""A GPU and TensorRT that are none."""
