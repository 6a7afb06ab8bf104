"""Recordings in and out: the only room that knows rosbags.

`reader` yields camera frames of rosbag2 (mcap, sqlite3) and ROS 1 bags; `writer` writes mcap
files that Foxglove, Rerun and `ros2 bag` open.
"""
