from semla_ros.bundle import ModelBundle as ModelBundle
from semla_ros.bundle import open_bundle as open_bundle
from semla_ros.core.config import Config as Config
from semla_ros.core.errors import SemlaError as SemlaError
from semla_ros.core.files.image_file import read_image as read_image
from semla_ros.core.types import AdapterMix as AdapterMix
from semla_ros.core.types import Frame as Frame
from semla_ros.data.bags.reader import read_frames as read_frames
from semla_ros.evaluation.run import ReplayRequest as ReplayRequest
from semla_ros.evaluation.run import run_replay as run_replay
from semla_ros.pipeline import build_pipeline as build_pipeline

__version__: str
