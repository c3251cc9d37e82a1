"""The host's side of a run: its folder, its loop, its logs. What the device does is `groove.trainer`'s."""

from groove.host.files import user_cache, write_bytes, write_text
from groove.host.folder import (
    ANTAGONIST,
    RULE,
    SCHEDULES,
    START,
    assembled,
    check_space,
    check_start,
    create,
    create_together,
    folders_of,
    open_folder,
    rule_file,
    theta_of,
    unless_unused,
    versions,
)
from groove.host.loop import NotFinite, Result, describe
from groove.host.metrics import Metrics, Sink, append_metrics, averaged, cut_metrics, read_metrics, table
from groove.host.process import InUse, interruptible, locked, owned
from groove.host.results import draw_walk, evaluate, plain, save_curriculum, save_rule, save_schedules
from groove.host.training import train, train_together

__all__ = [
    "ANTAGONIST",
    "RULE",
    "SCHEDULES",
    "START",
    "InUse",
    "Metrics",
    "NotFinite",
    "Result",
    "Sink",
    "append_metrics",
    "assembled",
    "averaged",
    "check_space",
    "check_start",
    "create",
    "create_together",
    "cut_metrics",
    "describe",
    "draw_walk",
    "evaluate",
    "folders_of",
    "interruptible",
    "locked",
    "open_folder",
    "owned",
    "plain",
    "read_metrics",
    "rule_file",
    "save_curriculum",
    "save_rule",
    "save_schedules",
    "table",
    "theta_of",
    "train",
    "train_together",
    "unless_unused",
    "user_cache",
    "versions",
    "write_bytes",
    "write_text",
]
