"""Configurations: frozen dataclasses that become flags, their presets, checks and files."""

from groove.config.checks import ANTAGONISTS, DEEP_GA, GYMNAX, MIXTURE, check, check_name, population, whole_lives
from groove.config.files import from_json, load, save
from groove.config.presets import GROOVE, LPG, LPO, PRESETS, QUICK, TA_LPG, TA_LPO, preset, smoke
from groove.config.settings import (
    CHOICES,
    Bandits,
    Chains,
    Config,
    Curriculum,
    Evolution,
    Grids,
    Gymnax,
    Life,
    Meta,
    Rule,
)

__all__ = [
    "ANTAGONISTS",
    "CHOICES",
    "DEEP_GA",
    "GROOVE",
    "GYMNAX",
    "LPG",
    "LPO",
    "MIXTURE",
    "PRESETS",
    "QUICK",
    "TA_LPG",
    "TA_LPO",
    "Bandits",
    "Chains",
    "Config",
    "Curriculum",
    "Evolution",
    "Grids",
    "Gymnax",
    "Life",
    "Meta",
    "Rule",
    "check",
    "check_name",
    "from_json",
    "load",
    "population",
    "preset",
    "save",
    "smoke",
    "whole_lives",
]
