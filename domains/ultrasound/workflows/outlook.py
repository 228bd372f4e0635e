"""The outlook of a workflow, from `core.outlook`, and the formats that hold lines of ultrasound."""

from core.outlook import Outlook, Ready, at_once, check_output, many

__all__ = ["LINE_FILES", "Outlook", "Ready", "at_once", "check_output", "many"]

# Formats that hold lines, and not only pictures.
LINE_FILES = (".h5", ".hdf5", ".npz")
