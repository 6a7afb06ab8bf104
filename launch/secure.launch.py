"""The segmenter under SROS 2, with signed models only: docs/security.md.

ros2 launch semla_ros secure.launch.py keystore:=/etc/semla/keystore image:=/camera/image_raw
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("semla_ros"))

ARGUMENTS = (
    ("keystore", None, "SROS 2 keystore; the robot needs its public part and one enclave alone"),
    ("enclave", "/semla/segmenter", "The node's enclave in config/security/policy.xml"),
    ("image", "/camera/image_raw", "Camera topic, as in the policy"),
    ("bundle", "", "Signed model bundle folder; empty: as in params_file"),
    (
        "params_file",
        str(SHARE / "config" / "security" / "params.yaml"),
        "ROS parameter file that names the trusted keys",
    ),
)
PASSED = ("image", "bundle", "params_file")


def generate_launch_description() -> LaunchDescription:
    """Return drive.launch.py in an environment where nothing without a key takes part."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in ARGUMENTS
    ]
    security = {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": LaunchConfiguration("keystore"),
        "ROS_SECURITY_ENCLAVE_OVERRIDE": LaunchConfiguration("enclave"),
    }
    drive = PythonLaunchDescriptionSource(str(SHARE / "launch" / "drive.launch.py"))
    passed = {name: LaunchConfiguration(name) for name in PASSED}
    return LaunchDescription(
        [
            *declared,
            *(SetEnvironmentVariable(name, value) for name, value in security.items()),
            IncludeLaunchDescription(drive, launch_arguments=passed.items()),
        ]
    )
