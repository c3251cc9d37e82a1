"""The host's side of a run: its folder, its loop, its logs. What the device does is `groove.trainer`'s."""

from groove.runs.folder import (
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
from groove.runs.loop import NotFinite, Result, describe
from groove.runs.metrics import Metrics, Sink, append_metrics, averaged, cut_metrics, read_metrics, table
from groove.runs.process import InUse, interruptible, locked, owned
from groove.runs.artefacts import evaluate_held_out, plain, save_curriculum, save_rule, save_schedules
from groove.runs.training import train, train_together

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
    "evaluate_held_out",
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
    "versions",
]
