"""What text models cost and score here.

    python -m tests.benchmarks.language                  # prints every part
    python -m tests.benchmarks.language --only sampling  # one part
    python -m tests.benchmarks.language --write          # and keeps it in results/language.json

    head      a training step with the head on masked rows alone, against the head on all rows
    sampling  one evaluation of a sampler that decides, then draws, against the published pattern: the head
              and Gumbel noise for every row and id
    calls     evaluations per text against the formula, and what skipping idle sequences saves at batch 64
    shipped   bound, causal baseline and gap of the shipped models on held-out text
    recipe    the character model after 112 and 224 steps of the common recipe, beside the public RADD code
    draws     perplexity of samples under the causal baseline and unigram entropy, float64 and float32 draws

The figures of the public code in `recipe` were measured beside ours, with its own network, initialisation,
loss and masks, on the same batches of text in the same order, and both scored by one bound; they are kept
here, since the code is not.

Ratios are of processor time on one thread, both sides in the same run on the same work. "The published
pattern" is written out here from its description (Ou et al. 2024, arXiv:2406.03736; Sahoo et al. 2024,
arXiv:2406.07524).
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from core.categorical import drawn
from core.errors import DataError
from core.plan import expected_evaluations, uniform, unmask
from core.process import Masking
from core.reveal import evaluated
from core.run import steps
from core.state import Seeds
from core.train import Batch
from core.train.token_loss import TokenLoss
from data.synthetic.grammar import ENGLISH
from domains.language.config import Generation, preset_for
from domains.language.generation import generate
from domains.language.metrics import unigram_entropy
from domains.language.networks import TextNet
from domains.language.radd import TextDenoiser, load_model
from domains.language.scoring import document_blocks, score_blocks, score_set
from domains.language.sets import read_set
from domains.language.streams import blocks_of
from domains.language.training import train
from domains.language.weights import SHIPPED, shipped
from domains.language.workflows.opening import tokens_of
from tests.conftest import data_root

RESULTS = Path(__file__).parent / "results" / "language.json"
VOCAB, WIDTH, DEPTH, HEADS, LENGTH = 50_257, 256, 6, 4, 256
PAIRS = {"grammar": "grammar-causal", "char": "char-causal", "words": "words-causal"}
SETS = {"grammar": "english_grammar", "char": "text8_head", "words": "books"}


def spent(run: Callable[[], Any], repeats: int = 3) -> float:
    """Least processor seconds of some repeats, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def large() -> TextDenoiser:
    """The network of the specification's cost figures."""
    torch.manual_seed(0)
    net = TextNet(VOCAB, width=WIDTH, depth=DEPTH, heads=HEADS)
    torch.nn.init.normal_(net.weight, std=0.02)  # type: ignore[arg-type]
    return TextDenoiser(net, Masking(VOCAB))


def head() -> dict[str, Any]:
    denoiser = large()
    x0 = torch.randint(0, VOCAB, (16, LENGTH), generator=torch.Generator().manual_seed(0))

    def masked() -> float:
        denoiser.zero_grad(set_to_none=True)
        loss = TokenLoss()(denoiser, Batch(x0), Seeds(range(16)))
        loss.mean().backward()
        return float(loss.detach().mean())

    def full() -> float:
        """Log-softmax of all rows, then the loss of the masked ones."""
        denoiser.zero_grad(set_to_none=True)
        gen = Seeds(range(16))
        u = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in gen.generators])
        u = (u + torch.arange(16)) / 16
        hidden = (
            torch.stack([torch.rand(LENGTH, generator=g, dtype=torch.float64) for g in gen.generators])
            < u[:, None]
        )
        x = torch.where(hidden, VOCAB, x0)
        law = functional.log_softmax(denoiser.net(x), -1)
        surprise = -(law.gather(-1, x0[..., None])[..., 0] * hidden).sum(1)
        loss = surprise.double() / u
        loss.mean().backward()
        return float(loss.detach().mean())

    values = masked(), full()
    cost = spent(masked, 2), spent(full, 2)
    return {
        "loss_masked_rows": values[0],
        "loss_full_head": values[1],
        "cpu_s_masked_rows": cost[0],
        "cpu_s_full_head": cost[1],
        "speedup": cost[1] / cost[0],
    }


def sampling() -> dict[str, Any]:
    net = large().net.eval().requires_grad_(False)
    x = torch.full((1, LENGTH), VOCAB)
    gen = torch.Generator().manual_seed(0)
    where = torch.zeros(1, LENGTH, dtype=torch.bool)
    where[0, ::32] = True  # 8 of 256 tokens revealed: 32 steps

    def ours() -> Any:
        logits = net.head(net.hidden(x)[where])
        return drawn(logits, torch.rand(8, generator=gen, dtype=torch.float64))

    def pattern(dtype: torch.dtype) -> Callable[[], Any]:
        def run() -> Any:
            law = torch.softmax(net.head(net.hidden(x)[0]), -1).to(dtype)
            noise = -(torch.rand(law.shape, generator=gen, dtype=dtype) + 1e-10).log() + 1e-10
            return (law / noise).argmax(-1)

        return run

    with torch.inference_mode():
        cost = spent(ours), spent(pattern(torch.float32)), spent(pattern(torch.float64))
    return {
        "rows_revealed": 8,
        "cpu_s_decide_then_draw": cost[0],
        "cpu_s_pattern_float32": cost[1],
        "cpu_s_pattern_float64": cost[2],
        "speedup_over_float32": cost[1] / cost[0],
        "speedup_over_float64": cost[2] / cost[0],
    }


def calls() -> dict[str, Any]:
    process, count, length = Masking(26), 64, 256
    torch.manual_seed(0)
    denoiser = TextDenoiser(TextNet(26, width=16, depth=1, heads=2), process).eval()
    rows = {}
    for n in (32, 256, 1024):
        plan = unmask(process, uniform(process, n))
        start = process.prior(torch.zeros(count, length, dtype=torch.long))
        each, batches = torch.zeros(count), 0
        with torch.no_grad():
            for step in steps(plan, denoiser, start, Seeds(range(count))):
                moved = evaluated(step.row, step.x, step.next)
                each += moved
                batches += bool(moved.any())
        expected = expected_evaluations(plan, length)
        rows[str(n)] = {
            "evaluations_per_text": float(each.mean()),
            "expected": expected,
            "relative_difference": float(each.mean()) / expected - 1,
            "of_whole_batches": float(each.mean()) / batches,
        }
    return rows


def shipped_models() -> dict[str, Any]:
    root = data_root()
    if root is None:
        raise DataError("real data 'language' not found.", hint="Set SUFFUSE_DATA to their folder.")
    out = {}
    for name, baseline in PAIRS.items():
        if name not in SHIPPED:
            continue
        text = read_set(SETS[name])
        models = {one: load_model(shipped(one)) for one in (name, baseline)}
        tokens = tokens_of(text, "valid", models[name].tokenizer)
        blocks = blocks_of(tokens, models[name].length)
        rows: dict[str, Any] = {}
        for one, model in models.items():
            score = score_set(
                model,
                blocks,
                one,
                draws=16,
                most=256,
                raw_bytes=tokens.raw_bytes,
                characters=tokens.characters,
            )
            rows[one] = {
                "estimate": "exact" if score.exact else "bound, 16 draws",
                "bits_per_token": score.per_token / math.log(2),
                "standard_error": score.error / score.tokens / math.log(2),
                "perplexity": score.perplexity,
                "bits_per_byte": score.bits_per_byte,
            }
        gap = rows[name]["bits_per_token"] - rows[baseline]["bits_per_token"]
        out[name] = {"text": text.label, "blocks": 256, "models": rows, "gap_bits_per_token": gap}
        if name == "grammar":  # the source's own entropy, spread over the tokens of its sentences
            per_sentence = tokens.count / tokens.documents
            out[name]["entropy_bits_per_token"] = ENGLISH.entropy / math.log(2) / per_sentence
    return out


PUBLIC = {"112": 4.110, "224": 3.816}  # bits per character of the averaged weights, 6 draws, seed 0
RECIPE = {
    "loss": "lambda-dce",
    "batch": 32,
    "lr": 1e-3,
    "warmup": 100,
    "schedule": "constant",
    "weight_decay": 0.01,
    "ema": 0.999,
}


def recipe() -> dict[str, Any]:
    tokenizer = load_model(shipped("char")).tokenizer
    text = read_set("text8_head")
    train_on, held_out = (blocks_of(tokens_of(text, part, tokenizer), 128) for part in ("train", "valid"))
    rows = torch.from_numpy(held_out.rows(range(256)))
    out: dict[str, Any] = {"settings": {**RECIPE, "net": "128 x 4, length 128, 256 blocks scored, 6 draws"}}
    for steps_done, public in PUBLIC.items():
        config = preset_for("char-tiny", {**RECIPE, "steps": int(steps_done)})
        model = train(train_on, tokenizer, config, seed=0)
        found = score_blocks(model, rows, draws=6)
        bits = found.nats / found.lengths / math.log(2)
        out[steps_done] = {
            "bits_per_character": float(bits.mean()),
            "standard_error": float(bits.std() / len(bits) ** 0.5),
            "public_code": public,
            "difference": float(bits.mean()) - public,
        }
    return out


def draws() -> dict[str, Any]:
    """Samples of the word model under its causal baseline: what float32 draws do as steps grow."""
    if "words" not in SHIPPED:
        return {}
    model, judge = (load_model(shipped(name)) for name in ("words", "words-causal"))
    out = {}
    for dtype in ("fp64", "fp32"):
        for n in (16, 128):
            settings = Generation(steps=n, sampling_dtype=dtype)
            found = generate(model, [[]] * 48, new=model.length, settings=settings, seed=0)
            texts = [entry.ids for entry in found if len(entry.ids) > 1]
            nats = []
            for ids in texts:
                rows = document_blocks(torch.tensor(ids).numpy(), model.length, model.tokenizer.pad_id)
                nats.append(float(score_blocks(judge, rows).nats.sum()) / len(ids))
            entropy = unigram_entropy(texts)
            spread = torch.tensor(nats)
            out[f"{dtype}, {n} steps"] = {
                "judge_nats_per_token": float(spread.mean()),
                "standard_error": float(spread.std() / len(nats) ** 0.5),
                "judge_perplexity": math.exp(float(spread.mean())),
                "unigram_entropy_nats": entropy.mean,
                "entropy_standard_error": entropy.se,
                "evaluations_per_text": sum(entry.evaluations for entry in found) / len(found),
            }
    return out


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "head": head,
    "sampling": sampling,
    "calls": calls,
    "shipped": shipped_models,
    "recipe": recipe,
    "draws": draws,
}


def main() -> None:
    options = argparse.ArgumentParser(description="Cost and scores of text models.")
    options.add_argument("--only", choices=PARTS, action="append", help="these parts alone")
    options.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = (
        json.loads(RESULTS.read_text("utf-8")) if arguments.only and RESULTS.exists() else {}
    )
    report |= {
        "command": "python -m tests.benchmarks.language --write",
        "settings": f"V {VOCAB}, width {WIDTH}, {DEPTH} layers, length {LENGTH} for the costs; one thread",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    for name in arguments.only or PARTS:
        report[name] = PARTS[name]()
        print(json.dumps({name: report[name]}, indent=2), flush=True)
    if arguments.write:
        RESULTS.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
