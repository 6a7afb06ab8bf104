"""TensorRT on an NVIDIA GPU; imported only where TensorRT is asked for and installed."""
