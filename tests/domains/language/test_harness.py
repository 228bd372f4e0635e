"""What the harness asks for, against enumeration; and the harness itself where it is installed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.density.tokens import exact_bound
from core.errors import ConfigError, DataError
from domains.language.formats.reading import Document
from domains.language.harness import Scorer, harness_model
from domains.language.harness_tasks import TASKS, TASKS_FOLDER, prepare_task, run_tasks
from domains.language.tokenizer import train_tokenizer
from domains.language.training import causal_nats
from tests.domains.language.models import random_model

LETTERS = train_tokenizer("char", ["abcdefgh "])
MODEL = random_model(LETTERS, length=24, net={"width": 32, "depth": 1})
CAUSAL = random_model(LETTERS, kind="causal", length=24, net={"width": 32, "depth": 1})
EOS = LETTERS.eos_id
PAIRS = [("abc", " de"), ("a b", "c"), ("", "hgf"), ("bb ", "cd")]


def split(scorer: Scorer) -> list[Any]:
    return [scorer.split(*pair) for pair in PAIRS]


def test_contexts_and_continuations_meet_where_tokens_do() -> None:
    scorer = Scorer(MODEL)
    assert scorer.split("ab ", "c") == scorer.split("ab", " c")
    assert scorer.split("", "ab") == ([EOS], LETTERS.encode("ab"))
    given, own = scorer.split("a" * 40 + "b", "cd")
    assert (len(given), own) == (22, LETTERS.encode("cd"))
    assert given[-1] == LETTERS.encode("b")[0]
    assert scorer.split("ab", "X") == ([LETTERS.encode("a")[0], LETTERS.encode("b")[0]], LETTERS.encode(" "))
    for continuation in ("", "a" * 25):
        with pytest.raises(DataError, match="the model scores 1 to 24"):
            scorer.split("a", continuation)


def test_causal_answers_are_exact() -> None:
    scorer = Scorer(CAUSAL)
    found = scorer.log_probs(split(scorer))
    for (given, own), value in zip(split(scorer), found, strict=True):
        whole = causal_nats(CAUSAL.net, torch.tensor([[*given, *own]]))
        start = causal_nats(CAUSAL.net, torch.tensor([given]))
        assert value == pytest.approx(float(start - whole), abs=1e-4)


def test_bounds_of_continuations_agree_with_enumeration() -> None:
    scorer = Scorer(MODEL, draws=400, chunk=256)
    pairs = split(scorer)
    found = scorer.log_probs(pairs)
    assert found[1] == pytest.approx(-given_bound([*pairs[1][0]], pairs[1][1]), abs=1e-4)  # one token: exact
    for (given, own), value in zip(pairs, found, strict=True):
        # 400 masks, spread over their sizes: standard error near .1 nats.
        assert value == pytest.approx(-given_bound(given, own), abs=0.4)
    beside = Scorer(MODEL, draws=400, chunk=1).log_probs(pairs[:1])
    assert beside[0] == pytest.approx(found[0], abs=1e-4)


def given_bound(given: list[int], own: list[int]) -> float:
    """The bound by enumeration of the masks of the continuation alone."""

    class Behind:
        process = MODEL.process

        def __call__(self, x: torch.Tensor, t: Any, cond: Any = None) -> Any:
            whole = torch.cat([torch.tensor([given]).expand(len(x), -1), x], 1)
            posterior = MODEL.denoiser(whole, t)

            class Cut:
                @staticmethod
                def at(where: torch.Tensor) -> torch.Tensor:
                    none = torch.zeros(len(x), len(given), dtype=torch.bool)
                    return posterior.at(torch.cat([none, where], 1))

            return Cut()

    return float(exact_bound(Behind(), torch.tensor([own]))[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [MODEL, CAUSAL], ids=["masks", "causal"])
def test_greedy_means_that_the_likeliest_tokens_are_its_own(model: Any) -> None:
    scorer = Scorer(model)
    given = LETTERS.encode("ab")
    ids = list(given)
    for j in range(3):
        tokens = torch.tensor([[*ids, *[LETTERS.mask_id] * (3 - j)]])
        if model is CAUSAL:
            logits = model.net(torch.tensor([[LETTERS.mask_id, *ids]]))[0, -1]
        else:
            logits = model.denoiser(tokens, 1.0).logits[0, len(ids)]
        ids.append(int(logits.argmax()))
    own = ids[2:]
    other = [*own[:2], (own[2] + 1) % 9]
    early = [(own[0] + 1) % 9, *own[1:]]
    assert scorer.greedy([(given, own), (given, other), (given, early)]) == [True, False, False]


def test_every_token_of_a_document_counts_once() -> None:
    scorer = Scorer(CAUSAL)
    text = "abc def gh " * 5
    ids = LETTERS.encode(text)
    assert len(ids) == 55
    first, second = [EOS, *ids[:23]], ids[23:47]
    nats = causal_nats(CAUSAL.net, torch.tensor([first])) - causal_nats(CAUSAL.net, torch.tensor([[EOS]]))
    nats += causal_nats(CAUSAL.net, torch.tensor([second]))
    last = torch.tensor([ids[-24:]])
    nats += causal_nats(CAUSAL.net, last) - causal_nats(CAUSAL.net, last[:, :-8])
    assert scorer.rolling(text) == pytest.approx(-float(nats), abs=1e-3)
    assert scorer.rolling("") == 0.0


@pytest.mark.parametrize("model", [MODEL, CAUSAL], ids=["masks", "causal"])
def test_texts_are_written_up_to_a_stop(model: Any) -> None:
    scorer = Scorer(model)
    whole = scorer.until(["abc", ""], {"max_gen_toks": 20})
    assert scorer.until(["abc"], {"max_gen_toks": 20}) == whole[:1]
    assert all(len(text) <= 20 for text in whole)
    if len(whole[0]) > 2:
        stop = whole[0][1:3]
        assert scorer.until(["abc"], {"max_gen_toks": 20, "until": [stop, "zz"]}) == [
            whole[0][: whole[0].index(stop)]
        ]
    drawn = scorer.until(["abc"] * 6, {"max_gen_toks": 8, "do_sample": True, "temperature": 1.0})
    assert len(set(drawn)) > 1


def test_articles_and_passages_are_written_as_the_tasks_read_them(tmp_path: Path) -> None:
    rows = ["", " = One = \n", "", " = = Part = = \n", " a @-@ b . \n", " = Two = \n", " c d"]
    documents = [Document(text=row, row=i, source="x") for i, row in enumerate(rows)]
    assert prepare_task("suffuse_wikitext2", documents, tmp_path / "w.jsonl") == 2
    first, second = map(json.loads, (tmp_path / "w.jsonl").read_text().splitlines())
    raw = "\n = One = \n\n = = Part = = \n a @-@ b . \n"
    assert (first["words"], first["bytes"]) == (len(raw.split()), len(raw.encode()))
    assert "a-b" in first["text"]
    assert second["words"] == 5
    passages = [Document(text="he said the word", row=0, source="x")]
    assert prepare_task("suffuse_lambada", passages, tmp_path / "l.jsonl") == 1
    assert json.loads((tmp_path / "l.jsonl").read_text()) == {"text": "he said the word"}
    with pytest.raises(DataError, match="no document"):
        prepare_task("suffuse_lambada", [], tmp_path / "n.jsonl")
    with pytest.raises(ConfigError, match="unknown task 'suffuse_lambda'"):
        prepare_task("suffuse_lambda", passages, tmp_path / "n.jsonl")
    assert sorted(path.stem for path in TASKS_FOLDER.glob("*.yaml")) == sorted(TASKS)


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="models of masks and causal ones"):
        Scorer(random_model(LETTERS, kind="uniform"))
    with pytest.raises(ConfigError, match="models of masks and causal ones"):
        Scorer(random_model(LETTERS, block=4))
    with pytest.raises(ConfigError, match="at least 1"):
        Scorer(MODEL, draws=0)
    with pytest.raises(DataError, match="there is no"):
        run_tasks(MODEL, {"suffuse_choice": tmp_path / "none.jsonl"})
    with pytest.raises(ConfigError, match="unknown task"):
        run_tasks(MODEL, {"mmlu": tmp_path})


@pytest.mark.slow
def test_the_harness_runs_its_three_tasks_offline(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="'lm-eval' is not installed (pip install lm-eval)")
    files = {name: tmp_path / f"{name}.jsonl" for name in TASKS}
    choices = [{"question": "ab", "choices": ["cd", "ef", "h"], "answer": i % 3} for i in range(6)]
    files["suffuse_choice"].write_text("".join(json.dumps(row) + "\n" for row in choices))
    passages = [Document(text=text, row=0, source="x") for text in ("ab cd ef", "gh a b", "ab cd ef")]
    prepare_task("suffuse_lambada", passages, files["suffuse_lambada"])
    rows = [Document(text=text, row=0, source="x") for text in (" = a = ", "bcd efg " * 6)]
    prepare_task("suffuse_wikitext2", rows, files["suffuse_wikitext2"])
    found = run_tasks(CAUSAL, files)
    scorer = Scorer(CAUSAL)
    pairs = [scorer.split("ab cd", " ef"), scorer.split("gh a", " b"), scorer.split("ab cd", " ef")]
    mean = sum(scorer.log_probs(pairs)) / 3
    lambada = found["suffuse_lambada"]
    assert lambada["perplexity,none"] == pytest.approx(float(torch.tensor(-mean).exp()), rel=1e-4)
    article = json.loads(files["suffuse_wikitext2"].read_text())
    per_byte = -scorer.rolling(article["text"]) / article["bytes"] / float(torch.tensor(2.0).log())
    assert found["suffuse_wikitext2"]["bits_per_byte,none"] == pytest.approx(per_byte, rel=1e-4)
    assert 0 <= found["suffuse_choice"]["acc,none"] <= 1
    answers = [scorer.log_probs([scorer.split("ab", f" {c}") for c in ("cd", "ef", "h")])]
    best = max(range(3), key=lambda i: answers[0][i])
    assert found["suffuse_choice"]["acc,none"] == pytest.approx(
        sum(row["answer"] == best for row in choices) / 6
    )


def test_the_harness_asks_and_is_answered_in_order() -> None:
    pytest.importorskip("lm_eval", reason="'lm-eval' is not installed (pip install lm-eval)")
    from lm_eval.api.instance import Instance

    def asked(kind: Any, *arguments: Any) -> Any:
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    lm, scorer = harness_model(MODEL, draws=4), Scorer(MODEL, draws=4)
    found = lm.loglikelihood([asked("loglikelihood", *pair) for pair in PAIRS])
    assert [value for value, _ in found] == pytest.approx(scorer.log_probs(split(scorer)))
    assert [greedy for _, greedy in found] == scorer.greedy(split(scorer))
    rolled = lm.loglikelihood_rolling([asked("loglikelihood_rolling", "abc def")])
    assert rolled == pytest.approx([scorer.rolling("abc def")])
    told = [{"until": ["a"], "max_gen_toks": 5}, {"until": ["b"], "max_gen_toks": 6}]
    written = lm.generate_until([asked("generate_until", "cd", told[i % 2]) for i in range(3)])
    assert written[0] == written[2] == scorer.until(["cd"], told[0])[0]
    assert written[1] == scorer.until(["cd"], told[1])[0]
    assert lm.tokenizer_name.startswith("suffuse-")
