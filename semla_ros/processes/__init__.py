"""The node, the camera and the recorder as processes of their own."""
