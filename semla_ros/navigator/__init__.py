"""Which domain is the camera in, and when is that reason enough to change the weights?"""
