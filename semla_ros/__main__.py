"""`python -m semla_ros` is `semla`."""

import sys

from semla_ros.cli import main

sys.exit(main())
