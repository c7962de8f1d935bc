"""Variants: taken apart, refused with the part that is wrong, and written again."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.backends import Lora
from lmlab.errors import UsageError
from lmlab.lab import variant as variants
from lmlab.lab.best_of import SelectorSpec
from lmlab.lab.variant import Variant, parse_lora, parse_variant
from lmlab.prompting import Technique
from lmlab.sampling import PARAMETERS, SamplingParams


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "style.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_a_model_alone_is_a_variant() -> None:
    variant = parse_variant("smollm2")
    assert variant == Variant("smollm2", "smollm2")
    assert (variant.text, str(variant)) == ("smollm2", "smollm2")
    assert variant.sampling == SamplingParams()


def test_every_key_is_read(adapter: Path) -> None:
    text = (
        "hf:owner/repo:Q4_0@temp=0.2, top-k=40,max_tokens=64,seed=-1,stop=END,stop='a, b',template=./qa.md,"
        f'technique=few-shot-cot,shots=3,system="Be brief, please",lora={adapter}:0.5,lora={adapter},ctx=0,'
        "best_of=5,select=vote,draft=lookup,label=mine"
    )
    variant = parse_variant(text)
    assert variant == Variant(
        ref="hf:owner/repo:Q4_0",
        label="mine",
        sampling=SamplingParams(temperature=0.2, top_k=40, max_tokens=64, seed=-1, stop=("END", "a, b")),
        template="./qa.md",
        technique="few-shot-cot",
        shots=3,
        system="Be brief, please",
        lora=(Lora(str(adapter), 0.5), Lora(str(adapter))),
        context=0,
        best_of=5,
        select=SelectorSpec("vote"),
        draft="lookup",
    )
    assert parse_variant(str(variant)) == variant


@pytest.mark.parametrize("parameter", [parameter.name for parameter in PARAMETERS])
def test_every_sampling_parameter_is_a_key_with_hyphens_too(parameter: str) -> None:
    variant = parse_variant(f"m@{parameter.replace('_', '-')}=1")
    assert getattr(variant.sampling, parameter) == 1
    assert parse_variant(f"m@{parameter.upper()}=1") == variant


def test_settings_alone_are_for_the_default_model() -> None:
    variant = parse_variant("@temperature=0")
    assert (variant.ref, variant.sampling.temperature, str(variant)) == (None, 0.0, "@temperature=0")


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("/home/me@work/m.gguf", "/home/me@work/m.gguf"),
        ("/home/me@work/m.gguf@top_k=1", "/home/me@work/m.gguf"),
        ("/m/a@seed=7/x.gguf@top_k=1", "/m/a@seed=7/x.gguf"),
        ("/m/a,b.gguf@top_k=1", "/m/a,b.gguf"),
        (r"C:\models\x y.gguf@top_k=1", r"C:\models\x y.gguf"),
        ('m@system="write to a@top_k=5",top_k=1', "m"),
        ("m@system='say \"@seed=5\", twice',top_k=1", "m"),
    ],
)
def test_settings_begin_at_the_last_sign_before_a_key_outside_quotes(text: str, ref: str) -> None:
    variant = parse_variant(text)
    assert variant.ref == ref
    assert variant.sampling.top_k == (1 if "top_k" in text else None)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"a, b"', "a, b"),
        ("'a, b'", "a, b"),
        ('"say ""hi"", please"', 'say "hi", please'),
        ("'it''s'", "it's"),
        ("it's", "it's"),
        ('" x "', " x "),
        (" x y ", "x y"),
        ('""', ""),
        ("", ""),
        ("a=b", "a=b"),
        ('"C:\\new,old"', "C:\\new,old"),
        ('"two\nlines"', "two\nlines"),
    ],
)
def test_quotes_hold_what_would_end_a_value(written: str, value: str) -> None:
    assert parse_variant(f"m@system={written},seed=1").system == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the variant is empty: write MODEL"),
        ("  ", "the variant is empty"),
        ("m@temprature=1", "there is no key 'temprature': did you mean temperature"),
        ("m@xyzzy=1", "there is no key 'xyzzy': there are preset, temperature, top_k"),
        ("m@temperature=hot", "temperature 'hot': give a number from 0 to 100"),
        ("m@top_k=1.5", "top-k '1.5': give a whole number"),
        ("m@temp=1,temperature=2", "temperature is given twice"),
        ("m@temperature", "temperature has no value: write temperature=..."),
        ("m@shots=-1", "shots '-1': give a whole number of 0 or more"),
        ("m@best_of=0", "best_of '0': give a whole number of 1 or more"),
        ("m@best-of=99999999999", "best_of '99999999999': give a whole number"),
        ("m@technique=fewshot", "technique 'fewshot': did you mean few-shot"),
        ("m@technique=x", "technique 'x': there are zero-shot, few-shot, cot, few-shot-cot"),
        ("m@select=vot", "select vot: did you mean vote"),
        ("m@template=,seed=1", "template is empty"),
        ("m@stop=", "stop is empty"),
        ("m@lora=nowhere.gguf:0.5", "there is no file nowhere.gguf"),
        ("m@system=a, b", "a setting key=value belongs before 'b': put a value that holds a comma in quotes"),
        ("m@seed=1,", "a setting key=value belongs before 'nothing'"),
        ('m@system="a', "the quote after system= is not closed"),
        ('m@system="a"b', "a comma belongs after system="),
        ('m@system=a"b', "put the value of system in quotes"),
    ],
)
def test_a_wrong_variant_is_refused_with_the_part_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_variant(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_scale_of_an_adapter_may_be_part_of_its_name(tmp_path: Path, adapter: Path) -> None:
    assert parse_lora(f"{adapter}:-1.5") == Lora(str(adapter), -1.5)
    with pytest.raises(UsageError, match="finite"):
        parse_lora(f"{adapter}:nan")
    if Path("/").anchor == "/":
        (odd := tmp_path / "x:2").write_bytes(b"GGUF")
        assert parse_lora(str(odd)) == Lora(str(odd), 1.0)


# Labels


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("smollm2@temp=0.20", "smollm2@temperature=0.2"),
        ("/a/long/way/to/model-Q4.gguf@top_k=1", "model-Q4@top_k=1"),
        ("hf:owner/repo:Q4_0", "hf:owner/repo:Q4_0"),
        ("m@label=mine", "mine"),
        ("m@label=' mine '", " mine "),
        ("m@system=" + "x" * 100, "m@system=" + "x" * 23 + "…"),
    ],
)
def test_a_label_is_the_variant_made_short(text: str, label: str) -> None:
    assert parse_variant(text).label == label


def test_a_label_is_one_short_line() -> None:
    label = parse_variant('m@system="a\nb",template=' + "t" * 50 + ",draft=" + "d" * 50).label
    assert len(label) == 60
    assert "\n" not in label


# Written again

_TEXTS = st.text(st.sampled_from("ab=,@'\" \n\\é"), max_size=12)
_SAID = st.text(st.sampled_from("ab=,@'\" \n\\é"), min_size=1, max_size=12).filter(str.strip)


@given(
    ref=st.sampled_from(["m", None, "/a@b/c.gguf", "/a@seed=1/c.gguf", r"C:\x,y z.gguf", "it's"]),
    temperature=st.none() | st.floats(0, 100),
    stop=st.lists(_SAID, max_size=2).map(tuple),
    system=st.none() | _TEXTS,
    template=st.none() | _SAID,
    select=st.none() | _SAID.map(lambda text: SelectorSpec("command", text)),
    shots=st.none() | st.integers(0, 9),
    label=_SAID,
)
def test_a_variant_is_read_as_it_was_written(
    ref: str | None,
    temperature: float | None,
    stop: tuple[str, ...],
    system: str | None,
    template: str | None,
    select: SelectorSpec | None,
    shots: int | None,
    label: str,
) -> None:
    sampling = SamplingParams(temperature=temperature, stop=stop or None)
    variant = Variant(ref, label, sampling, template=template, shots=shots, system=system, select=select)
    assert parse_variant(str(variant)) == variant


@pytest.mark.parametrize("text", ["m", "m@temp=0.30", "@seed=1", "m@system='a@b=c'", "m@select='regex:a,b'"])
def test_a_variant_without_a_label_is_written_without_one(text: str) -> None:
    variant = parse_variant(text)
    assert "label" not in str(variant)
    assert parse_variant(str(variant)) == variant
    assert str(parse_variant(str(variant))) == str(variant)


def test_a_model_that_looks_like_settings_can_be_written() -> None:
    variant = Variant("/m/a@seed=1.gguf", "mine")
    assert parse_variant(str(variant)) == variant
    assert parse_variant("/m/a@seed=1.gguf@label=x").ref == "/m/a@seed=1.gguf"


def test_the_techniques_are_those_of_the_templates() -> None:
    assert set(get_args(variants.Technique)) == set(get_args(Technique))
