"""Small recordings of known pictures."""

import numpy as np
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter

STAMP = 1_700_000_000_000_000_000


def picture(seed, height=24, width=32):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_camera(path, count=6, topic="/camera/image_raw", height=24, width=32):
    with BagWriter(path) as bag:
        for i in range(count):
            stamp = STAMP + i * 40_000_000
            fields = image_fields(picture(i, height, width), stamp_ns=stamp, frame_id="optical")
            bag.write(topic, IMAGE, fields, stamp + 5_000_000)
    return path


def ros2_message(store, fields):
    header = store.types["std_msgs/msg/Header"](
        store.types["builtin_interfaces/msg/Time"](**fields["header"]["stamp"]),
        fields["header"]["frame_id"],
    )
    return store.types[IMAGE](header, *(fields[k] for k in list(fields)[1:]))


def write_odd_stamps(path):
    """Five frames, the second and fourth of which are stamped with what is no time."""
    with BagWriter(path) as bag:
        for i in range(5):
            stamp = STAMP + i * 40_000_000
            fields = image_fields(picture(i), stamp_ns=stamp, frame_id="optical")
            if i == 1:
                fields["header"]["stamp"]["sec"] = -5
            if i == 3:
                fields["header"]["stamp"]["nanosec"] = 4_000_000_000
            bag.write("/camera/image_raw", IMAGE, fields, stamp)
    return path


def write_storage(path, plugin, count=3):
    store = get_typestore(Stores.LATEST)
    with Writer(path, version=9, storage_plugin=plugin) as bag:
        connection = bag.add_connection("/camera/image_raw", IMAGE, typestore=store)
        for i in range(count):
            fields = image_fields(picture(i), stamp_ns=STAMP + i, frame_id="optical")
            data = store.serialize_cdr(ros2_message(store, fields), IMAGE)
            bag.write(connection, STAMP + i, data)
    return path
