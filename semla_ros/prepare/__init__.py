"""What prepares models: import and export, care of adapters, training. Not on the robot."""
