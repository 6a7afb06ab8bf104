"""Making, checking and describing a library's adapters; nothing here runs on the robot."""
