"""What rules are compared on, and how: the table that ends every run, and the protocols of suites."""

from groove.protocols.baselines import (
    BASELINES,
    Setting,
    default_architecture,
    default_setting,
    identity,
    named_rule,
    search_space,
)
from groove.protocols.heldout import (
    HELD_OUT_SEED,
    HeldOut,
    Protocol,
    Row,
    assessment,
    caption,
    held_out,
    held_out_levels,
    protocol,
    rival_name,
    rows,
)
from groove.protocols.suites import PROTOCOLS, SCALES, Budget, SuiteProtocol, fingerprint, points_of
from groove.protocols.tuned import Tuned, current_rules, hashes, read_tuned, stored, tuned

__all__ = [
    "BASELINES",
    "HELD_OUT_SEED",
    "PROTOCOLS",
    "SCALES",
    "Budget",
    "HeldOut",
    "Protocol",
    "Row",
    "Setting",
    "SuiteProtocol",
    "Tuned",
    "assessment",
    "caption",
    "current_rules",
    "default_architecture",
    "default_setting",
    "fingerprint",
    "hashes",
    "held_out",
    "held_out_levels",
    "identity",
    "named_rule",
    "points_of",
    "protocol",
    "read_tuned",
    "rival_name",
    "rows",
    "search_space",
    "stored",
    "tuned",
]
