"""The only room with rclpy and messages: lifecycle node, worker, conversions, diagnostics."""
