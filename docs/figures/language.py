"""What the shipped text models score, real output, and a picture of text as it comes out of its masks.

python -m tests.benchmarks.language --only shipped --write      # the scores
python -m docs.figures.language                                 # carries them into the pages
"""

import json
from pathlib import Path
from typing import Any

import torch

from core.state import Seeds
from docs.figures.scores import marked
from domains.language.config import Generation
from domains.language.generation import Watch, canvas, fill_canvas, generate
from domains.language.holes import parse_holes
from domains.language.infill import infill
from domains.language.radd import TextModel, load_model
from domains.language.weights import SHIPPED, shipped

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "tests" / "benchmarks" / "results" / "language.json"
COMMANDS = {
    "grammar": "suffuse language train english_grammar --preset nano --kind bpe --vocab-size 320 "
    "--steps 3000 --baseline -o grammar",
    "char": "suffuse language train text8_head --preset char-tiny --baseline -o char",
    "words": "suffuse language train books --preset words --vocab-size 2048 --baseline -o words",
}
PROMPT = "the doctor"
HOLES = "the [[1:3]] sings [[2:3]] the old bridge."
SHOWN = "grammar"


def score_table(found: dict[str, Any]) -> str:
    """Bound, causal baseline and gap of every shipped model."""
    lines = [
        "| model | held-out text | diffusion, bound | causal, exact | entropy of the source | unit |",
        "| --- " * 6 + "|",
    ]
    for name, row in found.items():
        models = row["models"]
        bound, exact = models[name], models[f"{name}-causal"]
        unit = "bits per character" if name == "char" else "bits per token"
        cells = [f"{m['bits_per_token']:.3f} ± {m['standard_error']:.3f}" for m in (bound, exact)]
        known = row.get("entropy_bits_per_token")
        floor = "not known" if known is None else f"{known:.3f}"
        lines.append(f"| `{name}` | {row['text']} | {cells[0]} | {cells[1]} | {floor} | {unit} |")
    return "\n".join(lines) + "\n"


def between(page: str, name: str, body: str) -> str:
    """The page with another text between two marks."""
    return marked(name).sub(lambda found: found.group(1) + body + found.group(2), page)


def samples_of(model: TextModel) -> str:
    """What a model writes, fills in and keeps."""
    ids = model.tokenizer.encode(PROMPT)
    made = generate(model, [ids] * 4, new=40, settings=Generation(steps=64, top_p=0.9), seed=1)
    filled = infill(model, [parse_holes(HOLES)], settings=Generation(steps=16), seed=1)[0]
    lines = ["```text"]
    lines += [f"{PROMPT}|{model.tokenizer.decode(entry.ids)}" for entry in made]
    lines += ["", f"{HOLES}", model.tokenizer.decode(filled.ids), "```"]
    return "\n".join(lines) + "\n"


def condensing(model: TextModel, path: Path) -> None:
    """One text at six moments of a run, masks in grey."""
    import matplotlib.pyplot as plt

    ids = model.tokenizer.encode(PROMPT)
    tokens, free = canvas([ids], 36, model)
    frames: list[torch.Tensor] = [tokens[0]]
    watch: Watch = lambda number, total, shown: frames.append(shown[0].clone())  # noqa: E731
    how = Generation(steps=64, top_p=0.9)
    fill_canvas(model, tokens, free, how, Seeds([3]), watch=watch)
    chosen = [frames[round(share * (len(frames) - 1))] for share in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    figure, axes = plt.subplots(figsize=(6.4, 2.9), layout="constrained")
    axes.axis("off")
    for i, frame in enumerate(chosen):
        text = model.tokenizer.decode(frame.tolist(), mask="▒", end="∎").replace("\n", " ")
        lines = [text[k : k + 105] for k in range(0, min(len(text), 210), 105)]
        axes.text(0, 1 - i / 6, "\n".join(lines), family="monospace", fontsize=8, va="top")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write_scores(found: dict[str, Any]) -> None:
    """`scores.json` beside the weights."""
    for name, row in found.items():
        for one, scores in row["models"].items():
            model = load_model(shipped(one))
            facts = {
                "command": COMMANDS[name],
                "text": row["text"],
                "parameters": sum(weight.numel() for weight in model.net.parameters()),
                "vocabulary": model.tokenizer.size,
                "length": model.length,
                "steps": model.config.steps,
                **scores,
            }
            (shipped(one) / "scores.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text("utf-8"))["shipped"]
    write_scores(found)
    for page in (ROOT / "README.md", ROOT / "docs" / "language.md"):
        text = page.read_text("utf-8")
        text = between(text, "text-scores", score_table(found))
        if SHOWN in SHIPPED:
            text = between(text, "text-samples", samples_of(load_model(shipped(SHOWN))))
        page.write_text(text, encoding="utf-8")
    if SHOWN in SHIPPED:
        condensing(load_model(shipped(SHOWN)), HERE / "text.png")
    bits = {name: row["gap_bits_per_token"] for name, row in found.items()}
    (HERE / "language.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(bits)


if __name__ == "__main__":
    main()
