"""What a user asks of the ultrasound domain, one function each; `suffuse ultrasound` calls these.

Each reads and checks everything before it writes anything; `ready` is told in between (see `outlook.py`).
"""

from domains.ultrasound.workflows.acquire import info_file, open_record, simulate_file
from domains.ultrasound.workflows.conversion import beamform_file, bmode_file, convert_file
from domains.ultrasound.workflows.dehazing import dehaze_file, dehaze_record, load_priors
from domains.ultrasound.workflows.evaluation import evaluate_files
from domains.ultrasound.workflows.outlook import Outlook, Ready
from domains.ultrasound.workflows.training import train_file

__all__ = [
    "Outlook",
    "Ready",
    "beamform_file",
    "bmode_file",
    "convert_file",
    "dehaze_file",
    "dehaze_record",
    "evaluate_files",
    "info_file",
    "load_priors",
    "open_record",
    "simulate_file",
    "train_file",
]
