"""suffuse doctor: what this installation can do on this machine."""

import typer

from apps.options import AsJson, DataDir

app = typer.Typer()

EXTRAS = {
    "ultrasound": (
        "monai",
        "h5py",
        "hdf5plugin",
        "pydicom",
        "nibabel",
        "imageio",
        "imageio-ffmpeg",
        "tifffile",
        "scikit-image",
    ),
    "graphs": ("torch-geometric", "rdkit", "networkx", "fcd-torch", "pyarrow"),
    "music": ("torchaudio", "soundfile", "librosa", "pyloudnorm", "pystoi", "mido", "mutagen"),
    "render": ("pyworld", "setuptools"),
    "timeseries": ("gluonts", "pandas", "pyarrow", "statsmodels"),
    "language": ("tokenizers",),
    "studio": ("gradio",),
}
"""Packages that each extra of this project brings."""


@app.command()
def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Report versions, device, threads, extras and datasets found; exit code 4 when torch does not work."""
    from itertools import chain

    from apps.environment import environment, version_of
    from apps.show import show
    from core.errors import MissingExtra
    from data.catalog import read_cards
    from data.store import is_present, search_path

    fault, machine = _torch()
    extras = []
    for extra, brings in EXTRAS.items():
        absent = [name for name in brings if version_of(name) is None]
        extras.append({"extra": extra, "state": "missing" if absent else "ok", "missing": absent})
    packages = ["torch", "numpy", "scipy", "pydantic", "matplotlib", *chain(*EXTRAS.values())]
    report = {
        **environment(),
        **machine,
        "search_path": search_path(data_dir),
        "libraries": [{"library": name, "version": version_of(name) or "missing"} for name in packages],
        "extras": extras,
        "datasets": [
            {"dataset": card.name, "state": "ok" if is_present(card, data_dir=data_dir) else "missing"}
            for card in read_cards()
        ],
    }
    show(report, as_json=as_json)
    if fault:
        raise MissingExtra(
            f"torch does not work here: {fault}.", hint="Install it again: make clean, then make demo."
        )


def _torch() -> tuple[str | None, dict[str, object]]:
    """Try torch on each of its devices: the fault if there is one, and devices with threads and memory."""
    try:
        import torch

        devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        for device in devices:
            total = torch.ones(1000, device=device).sum().item()
            if total != 1000:
                return f"a sum on {device} gave {total}, expected 1000", {"torch_state": "wrong"}
    except (ImportError, OSError, RuntimeError) as error:
        return str(error).splitlines()[0], {"torch_state": "missing"}
    memory = {f"{name}_gb": torch.cuda.get_device_properties(name).total_memory / 1e9 for name in devices[1:]}
    return None, {"torch_state": "ok", "devices": devices, "threads": torch.get_num_threads(), **memory}
