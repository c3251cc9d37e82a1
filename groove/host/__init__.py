"""The host's side of a run: its folder, its loop, its logs. What the device does is `groove.trainer`'s."""

from groove.host.files import write_bytes, write_text
from groove.host.folder import (
    ANTAGONIST,
    RULE,
    SCHEDULES,
    START,
    assembled,
    check_space,
    check_start,
    create,
    open_folder,
    rule_file,
    theta_of,
    unless_unused,
    versions,
)
from groove.host.loop import NotFinite, Result, describe, train
from groove.host.metrics import Metrics, Sink, append_metrics, cut_metrics, read_metrics, table
from groove.host.process import interruptible, owned
from groove.host.results import draw_walk, evaluate, plain, save_curriculum, save_rule, save_schedules

__all__ = [
    "ANTAGONIST",
    "RULE",
    "SCHEDULES",
    "START",
    "Metrics",
    "NotFinite",
    "Result",
    "Sink",
    "append_metrics",
    "assembled",
    "check_space",
    "check_start",
    "create",
    "cut_metrics",
    "describe",
    "draw_walk",
    "evaluate",
    "interruptible",
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
    "unless_unused",
    "versions",
    "write_bytes",
    "write_text",
]
