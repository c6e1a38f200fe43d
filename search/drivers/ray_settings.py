"""Settings that Ray reads from the environment when it is imported: import this before it."""

from __future__ import annotations

import logging
import os
import sys

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_PRINT_ALL_TRIAL_ERRORS="0",
    RAY_AIR_NEW_OUTPUT="0",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    TUNE_MAX_PENDING_TRIALS_PG="10000",  # else workers start one after another
    TUNE_DISABLE_SIGINT_HANDLER="1",
)
if "ray" not in sys.modules:  # a program with a Ray of its own keeps its mode
    os.environ.setdefault("RAY_AUTH_MODE", "token")
logging.getLogger("ray.widgets").setLevel(logging.CRITICAL)  # in a notebook it wants some
