"""JSON Schemas as grammars: whatever a grammar lets through is valid, and what cannot be enforced is refused by its path."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import tiny_models
from loaded_models import THREADS, load_model

from lmlab.errors import ConstraintError
from lmlab.llama import Context, DecodeStatus, Model, Sampler
from lmlab.llama.grammar import CANDIDATE, Grammar
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.constraint import compile_constraint
from lmlab.worker.constraint_text import integer_range
from lmlab.worker.messages import Constraint


def compile_json(schema: Any) -> str:
    return compile_constraint(Constraint("json-schema", json.dumps(schema)))


# A validator of its own, by the specification: what is compiled is never judged by the code that compiled it.

TYPE_CHECKS: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, (int, float)) and value == int(value),
    "number": lambda value: not isinstance(value, bool) and isinstance(value, (int, float)),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
FORMAT_CHECKS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "date-time": datetime.fromisoformat,
    "uuid": UUID,
}


def valid(value: Any, schema: Any, root: Any) -> bool:
    if isinstance(schema, bool):
        return schema
    checks = {key: CHECKS[key] for key in schema if key in CHECKS}
    return all(check(value, schema[key], schema, root) for key, check in checks.items())


def same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def resolve(reference: str, root: Any) -> Any:
    for key in reference.split("/")[1:]:
        root = root[int(key)] if isinstance(root, list) else root[key.replace("~1", "/").replace("~0", "~")]
    return root


def formatted(value: str, name: str) -> bool:
    FORMAT_CHECKS[name](value)
    return True


def number(value: Any) -> bool:
    return TYPE_CHECKS["number"](value)


def others(value: Any, schema: Any, whole: Any, root: Any) -> bool:
    extra = set(value) - set(whole.get("properties", {})) if isinstance(value, dict) else set()
    return all(valid(value[key], schema, root) for key in extra)


CHECKS: dict[str, Callable[[Any, Any, Any, Any], bool]] = {
    "$ref": lambda v, s, w, r: valid(v, resolve(s, r), r),
    "type": lambda v, s, w, r: any(TYPE_CHECKS[name](v) for name in (s if isinstance(s, list) else [s])),
    "enum": lambda v, s, w, r: any(same(v, one) for one in s),
    "const": lambda v, s, w, r: same(v, s),
    "anyOf": lambda v, s, w, r: any(valid(v, one, r) for one in s),
    "oneOf": lambda v, s, w, r: sum(valid(v, one, r) for one in s) == 1,
    "allOf": lambda v, s, w, r: all(valid(v, one, r) for one in s),
    "properties": lambda v, s, w, r: not isinstance(v, dict) or all(valid(v[k], s[k], r) for k in s if k in v),
    "required": lambda v, s, w, r: not isinstance(v, dict) or set(s) <= set(v),
    "additionalProperties": others,
    "prefixItems": lambda v, s, w, r: (
        not isinstance(v, list) or all(valid(one, sub, r) for one, sub in zip(v, s, strict=False))
    ),
    "items": lambda v, s, w, r: (
        not isinstance(v, list) or all(valid(one, s, r) for one in v[len(w.get("prefixItems", [])) :])
    ),
    "minItems": lambda v, s, w, r: not isinstance(v, list) or len(v) >= s,
    "maxItems": lambda v, s, w, r: not isinstance(v, list) or len(v) <= s,
    "minLength": lambda v, s, w, r: not isinstance(v, str) or len(v) >= s,
    "maxLength": lambda v, s, w, r: not isinstance(v, str) or len(v) <= s,
    "pattern": lambda v, s, w, r: not isinstance(v, str) or re.search(s, v, re.ASCII) is not None,
    "format": lambda v, s, w, r: not isinstance(v, str) or formatted(v, s),
    "minimum": lambda v, s, w, r: not number(v) or v >= s,
    "maximum": lambda v, s, w, r: not number(v) or v <= s,
    "exclusiveMinimum": lambda v, s, w, r: not number(v) or v > s,
    "exclusiveMaximum": lambda v, s, w, r: not number(v) or v < s,
}

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.org/person",
    "title": "A person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12, "description": "first name"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120, "default": 30},
        "married": {"type": "boolean"},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
        }
    },
    "$ref": "#/$defs/node",
}
SHAPES = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "minimum": 0}},
            "required": ["kind", "radius"],
        },
        {
            "type": "object",
            "properties": {
                "kind": {"const": "box"},
                "sides": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
            },
            "required": ["kind", "sides"],
        },
        {"type": "null"},
    ]
}
SCHEMAS: dict[str, Any] = {
    "person": PERSON,
    "list": LIST,
    "shapes": SHAPES,
    "anything": {},
    "true": True,
    "object": {"type": "object"},
    "optional only": {"properties": {key: {"type": "null"} for key in ("a", "b", "c")}},
    "others": {
        "properties": {"ab": {"type": "null"}, "a": {"type": "null"}, 'q"': {"type": "null"}},
        "required": ["a", "z"],
        "additionalProperties": {"type": "boolean"},
    },
    "map": {"type": "object", "additionalProperties": {"enum": [1, 2]}},
    "required alone": {"type": "object", "required": ["x"]},
    "enum": {"enum": ["a\\b", 'q"uote', "line\nend", "tab\t", "é\u2028\x7f", 1.5, None, {"k": [1, "x"]}, []]},
    "enum of a type": {"type": ["string", "integer"], "enum": ["a", 2, None, 1.5]},
    "const": {"const": {"deep": ["\\u0041", True]}},
    "types": {"type": ["integer", "null", "string"], "maxLength": 3, "maximum": 5},
    "no type": {"minLength": 2, "minItems": 1},
    "tuple": {
        "prefixItems": [{"type": "integer"}, {"type": "boolean"}],
        "items": {"type": "null"},
        "minItems": 3,
        "maxItems": 4,
    },
    "closed tuple": {"type": "array", "prefixItems": [{"type": "null"}, {"type": "null"}], "items": False},
    "short tuple": {"type": "array", "prefixItems": [{"type": "null"}, {"type": "null"}], "maxItems": 1},
    "items": {"type": "array", "items": {"type": "integer", "minimum": -3, "maximum": 3}, "minItems": 2, "maxItems": 5},
    "empty list": {"type": "array", "maxItems": 0},
    "lists": {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, "maxItems": 3},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "date-time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "pattern": {"type": "string", "pattern": "^[A-Z][a-z]{2,4}-\\d+(\\.\\w|_\\S)?$"},
    "pattern anywhere": {"type": "string", "pattern": "a[^b]c"},
    "pattern at the end": {"type": "string", "pattern": "(ab|c.d)$"},
    "pattern that must be escaped": {"type": "string", "pattern": '^("|\\\\|\\n|[\\t"]){2}\\/?$'},
    "above": {"type": "integer", "exclusiveMinimum": 9.5, "maximum": 1234},
    "below": {"type": "integer", "exclusiveMaximum": -99},
    "number": {"type": "number"},
    "not negative": {"type": "number", "minimum": 0},
    "number or integer": {"type": ["number", "integer"]},
    "allOf": {
        "$defs": {"named": {"properties": {"name": {"type": "string", "maxLength": 4}}, "required": ["name"]}},
        "allOf": [
            {"$ref": "#/$defs/named"},
            {"properties": {"name": {"minLength": 2}, "size": {"type": "integer"}}, "required": ["size"]},
        ],
        "type": "object",
        "properties": {"size": {"maximum": 9, "minimum": 1}},
    },
    "anyOf beside": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "ref beside": {"$defs": {"t": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/t", "maxLength": 2}}},
    "ref into a list": {"prefixItems": [{"type": "null"}, {"$ref": "#/prefixItems/0"}], "minItems": 2},
    "ref with escapes": {"$defs": {"a/b~c": {"const": 1}}, "$ref": "#/$defs/a~1b~0c"},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(tiny_models.write_llama(tmp_path_factory.mktemp("models") / "constraint.gguf"))


def walk(model: Model, gbnf: str, seed: int) -> bytes:
    """Return a random reply that the grammar allows, drawn towards its end."""
    vocabulary = model.vocabulary
    chosen = random.Random(seed)
    closing = {b'"', b"}", b"]", b"0", b"n"}
    every = np.zeros(vocabulary.size, CANDIDATE)
    every["id"] = np.arange(vocabulary.size)
    grammar = Grammar(vocabulary, gbnf)
    reply = b""
    for count in range(3000):
        allowed = grammar.mask(every)["id"].tolist()
        ends = [token for token in allowed if vocabulary.is_end(token)]
        going = [token for token in allowed if token not in ends]
        if ends and (not going or chosen.random() < 0.5 or count > 300):
            grammar.close()
            return reply
        close = [token for token in allowed if vocabulary.piece(token) in closing]
        close = [token for token in close if vocabulary.piece(token) == b'"'] or close
        token = chosen.choice(close if close and chosen.random() < 0.4 + count / 300 else going)
        grammar.accept(token)
        reply += vocabulary.piece(token)
    raise AssertionError(f"no end in sight: {reply!r}")


# A random text does not come upon these by itself.
SOUGHT = {"pattern anywhere", "pattern at the end"}


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name not in SOUGHT])
def test_every_walk_through_the_grammar_is_valid(tiny: Model, name: str) -> None:
    schema = SCHEMAS[name]
    gbnf = compile_json(schema)
    replies = {walk(tiny, gbnf, seed) for seed in range(40)}
    for reply in replies:
        value = json.loads(reply.decode("utf-8"))
        assert valid(value, schema, schema), reply
        # Half a surrogate pair would be no text.
        json.dumps(value, ensure_ascii=False).encode("utf-8")


def reads(model: Model, gbnf: str, text: str) -> bool:
    """Return whether the grammar lets exactly ``text`` through."""
    grammar = Grammar(model.vocabulary, gbnf)
    try:
        for token in model.vocabulary.tokenize(text, special=False):
            if not grammar.allows(token):
                return False
            grammar.accept(token)
        return grammar.allows(model.vocabulary.eos)
    finally:
        grammar.close()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "person",
            ['{"name": "Ada", "age": 36}', '{"name":"A","age":120,"married":true}'],
            ['{"age": 3, "name": "A"}'],
        ),
        (
            "person",
            ['{\n  "name": "é",\n  "age": 0\n}'],
            ['{"name":"","age":1}', '{"name":"A","age":121}', '{"name":"A"}'],
        ),
        ("list", ['{"value":1,"next":{"value":-2,"next":null}}'], ['{"value":1}', '{"value":1,"next":{}}']),
        (
            "optional only",
            ["{}", '{"a":null}', '{"b":null,"c":null}', '{"a":null,"c":null}'],
            ['{,"a":null}', '{"d":null}'],
        ),
        ("others", ['{"ab":null,"a":null,"z":true,"abc":false,"":true}'], ['{"a":null,"z":true,"ab":true}']),
        (
            "anything",
            ["[]", "{}", '"x"', "-1.5e+10", "null", '{"a":[1,{"b":[]}]}'],
            ["01", "nul", '"\n"', "[1,]", '"\\ud800"'],
        ),
        ("date", ['"2024-02-29"', '"1999-12-31"', '"2000-02-29"'], ['"2023-02-29"', '"2024-04-31"', '"1900-02-29"']),
        ("pattern anywhere", ['"xxaxcyy"', '"abcaxc"'], ['"abc"', '"aac']),
        ("pattern at the end", ['"ab"', '"xc.d"', '"abab"'], ['"abx"', '"cd"', '""']),
        ("tuple", ["[1, true, null]", "[1,true,null,null]"], ["[1,true]", "[1,true,null,null,null]"]),
        ("items", ["[1,-3]", "[0,1,2,3,-1]"], ["[1]", "[4,1]", "[1,1,1,1,1,1]", "[-4,1]"]),
        (
            "shapes",
            ['{"kind":"circle","radius":0.5}', '{"kind": "box", "sides": [1, 2]}', "null"],
            ['{"kind":"box","radius":1}'],
        ),
        ("enum", ['"a\\\\b"', '"q\\"uote"', '"line\\nend"', "1.5", '{"k": [1, "x"]}'], ['"a"', "2"]),
        ("above", ["10", "99", "1000", "1234"], ["9", "1235", "010", "-10"]),
        ("below", ["-100", "-999999999999999"], ["-99", "100", "-0100"]),
    ],
)
def test_what_is_let_through_and_what_is_not(tiny: Model, name: str, good: list[str], bad: list[str]) -> None:
    gbnf = compile_json(SCHEMAS[name])
    assert [text for text in good if not reads(tiny, gbnf, text)] == []
    assert [text for text in bad if reads(tiny, gbnf, text)] == []


def test_whitespace_is_bounded(tiny: Model) -> None:
    gbnf = compile_json(PERSON)
    indent = "\n" + " " * 20
    assert reads(tiny, gbnf, f'{{{indent}"name"{indent}:{indent}"A",{indent}"age": 1{indent}}}')
    for text in (
        '{  "name":"A","age":1}',
        f'{{{indent} "name":"A","age":1}}',
        ' {"name":"A","age":1}',
        '{"name":"A","age":1}\n',
    ):
        assert not reads(tiny, gbnf, text)


@pytest.mark.parametrize(
    "bounds",
    [(0, 0), (0, 9), (-5, 5), (7, 7), (9, 10), (95, 105), (100, 399), (137, 4096), (-1000, -1), (-45, -12), (-10, 100)],
)
def test_a_range_of_whole_numbers_is_exact(bounds: tuple[int, int]) -> None:
    # GBNF of digits, classes, groups, counts and literals reads as a regular expression once quotes and blanks are gone.
    expression = integer_range(*bounds).replace('"', "").replace(" ", "")
    around = range(bounds[0] - 1200, bounds[1] + 1200)
    assert [n for n in around if re.fullmatch(expression, str(n))] == list(range(bounds[0], bounds[1] + 1))
    assert not re.fullmatch(expression, "00")


def nested(depth: int) -> Any:
    return {"items": nested(depth - 1)} if depth else {"type": "null"}


REFUSED: list[tuple[Any, str]] = [
    (
        {"properties": {"age": {"type": "integer", "multipleOf": 5}}},
        "$.properties.age.multipleOf: this keyword is not supported",
    ),
    ({"properties": {"a b": {"not": {}}}}, '$.properties["a b"].not: this keyword is not supported'),
    ({"allOf": [{}, {"if": {}}]}, "$.allOf[1].if: this keyword is not supported"),
    ({"anyOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"uniqueItems": True}}}, "$.$defs.x.uniqueItems: this keyword"),
    ({"patternProperties": {}}, "$.patternProperties: this keyword is not supported"),
    ({"proprties": {}}, "$.proprties: this keyword is not supported"),
    ({"properties": {"x": {"$id": "y"}}}, "$.properties.x.$id: this keyword is not supported"),
    ({"type": "strin"}, '$.type: "strin" is not a type'),
    ({"type": []}, "$.type: [] is not a type"),
    ({"type": ["string", 3]}, "$.type: 3 is not a type"),
    ([], "$: a schema is an object, or true or false, not []"),
    ({"items": "string"}, '$.items: a schema is an object, or true or false, not "string"'),
    ({"items": [{"type": "null"}]}, "$.items: a list of schemas belongs in prefixItems"),
    ({"properties": []}, "$.properties: an object of schemas is expected"),
    ({"required": "a"}, "$.required: a list of names is expected"),
    ({"anyOf": []}, "$.anyOf: a list of at least one schema is expected"),
    ({"enum": "a"}, "$.enum: a list of values is expected"),
    ({"enum": []}, "$.enum: no value is left"),
    ({"type": "string", "enum": [1]}, "$.enum: no value is left"),
    ({"enum": ["a"], "maxLength": 3}, "$.maxLength: it cannot be combined with enum or const"),
    (False, "$: nothing is valid here"),
    ({"properties": {"x": False}}, "$.properties.x: nothing is valid here"),
    ({"$ref": "https://example.org/x.json"}, "$.$ref: 'https://example.org/x.json' is not in this schema"),
    ({"$ref": "#anchor"}, "$.$ref: '#anchor' is not in this schema"),
    ({"$ref": "#/$defs/none"}, "$.$ref: there is nothing at #/$defs/none"),
    ({"$ref": "#"}, "$: the schema refers to itself with nothing in between"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "$: the schema makes a grammar that cannot be used"),
    ({"properties": {"x": {"$ref": "#"}}, "required": ["x"]}, "$: the schema makes a grammar that cannot be used"),
    (
        {"type": "integer", "minLength": 2},
        "$.minLength: it speaks of a value of type string, and the type here is integer",
    ),
    (
        {"type": "string", "format": "email"},
        '$.format: "email" is not supported: there are date, time, date-time, uuid',
    ),
    ({"type": "string", "format": "date", "maxLength": 3}, "$.format: of pattern, format and the lengths"),
    ({"type": "string", "minLength": 5, "maxLength": 2}, "$.maxLength: 2 is less than minLength, 5"),
    ({"type": "string", "maxLength": 5000}, "$.maxLength: 5,000 is more than 2,000"),
    ({"type": "string", "maxLength": -1}, "$.maxLength: a whole number of 0 or more"),
    ({"type": "array", "minItems": True}, "$.minItems: a whole number of 0 or more"),
    ({"type": "array", "minItems": 3, "maxItems": 2}, "$.maxItems: 2 is less than minItems, 3"),
    ({"prefixItems": [{}], "items": False, "minItems": 2}, "$.minItems: only 1 items are possible"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "$: no whole number is within these bounds"),
    ({"type": "integer", "minimum": "0"}, "$.minimum: a number is expected"),
    ({"type": "integer", "maximum": 10**20}, "$.maximum: 100000000000000000000 has more than 15 digits"),
    ({"type": "number", "maximum": 5}, "$.maximum: of a number a grammar can enforce only a minimum of 0"),
    (
        {"required": ["a"], "additionalProperties": False},
        "$.required: 'a' is required, and additionalProperties forbids it",
    ),
    ({"oneOf": [{"type": "string"}, {"maxLength": 3}]}, "$.oneOf[1]: a value may be valid against this and another"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "$.oneOf[1]: a value may be valid"),
    ({"allOf": [{"type": "string"}, {"type": "null"}]}, "$.allOf[1].type: no value is both string and null"),
    ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "$.allOf[1].pattern: it differs from another pattern"),
    (
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}, "additionalProperties": False}]},
        "$.allOf[1].additionalProperties: here it would forbid or bind properties of other parts",
    ),
    ({"pattern": "(?=a)b"}, "$.pattern: this pattern is not supported: at character 2"),
    ({"pattern": "a\\b"}, "$.pattern: this pattern is not supported: at character 2 of the pattern: \\b"),
    ({"pattern": "(a)\\1"}, "\\1 is not supported"),
    ({"pattern": "a^b"}, "^ is possible only at the beginning"),
    ({"pattern": "a$b"}, "$ is possible only at the end"),
    ({"pattern": "^a|b$"}, "^ and $ hold only the alternative they stand in"),
    ({"pattern": "(a"}, "a ) is missing"),
    ({"pattern": "a)"}, "a ) has no ("),
    ({"pattern": "[a"}, "a ] is missing"),
    ({"pattern": "*a"}, "* has nothing before it"),
    ({"pattern": "a{x}"}, "{ must be {2}, {2,} or {2,5}"),
    ({"pattern": "a{5,2}"}, "at least 5 and at most 2 times is never"),
    ({"pattern": "(a*)*"}, "repeats what may be empty"),
    ({"pattern": "[z-a]"}, "a range goes from one character to a later one"),
    ({"pattern": "^\\x01$"}, "a character that no reply can contain"),
    ({"pattern": 3}, "$.pattern: a text is expected"),
    (nested(70), "the schema is nested more than 64 deep"),
    (nested(300), "the schema is nested more than 200 deep"),
    ({"enum": ["\ud800"]}, "half a surrogate pair"),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_enforced_is_refused_by_its_path(schema: Any, message: str) -> None:
    with pytest.raises(ConstraintError, match=re.escape(message)) as caught:
        compile_json(schema)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": }', "the schema is not JSON: line 1, column 10"),
        ("", "the schema is not JSON: line 1, column 1"),
        ('{"type": "null", "type": "string"}', "the key 'type' twice"),
        ('{"minimum": NaN}', "NaN is not a number"),
        ("[" * 100_000, "nested too deep"),
        ('{"minimum": ' + "9" * 5000 + "}", "cannot|can be read"),
    ],
    ids=lambda text: text[:20],
)
def test_a_text_that_is_no_schema_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        compile_constraint(Constraint("json-schema", text))


def test_a_grammar_is_checked_and_passed_on() -> None:
    assert compile_constraint(Constraint("gbnf", 'root ::= "a"')) == 'root ::= "a"'
    with pytest.raises(ConstraintError, match="line 1, column 10: there is no rule called 'a'"):
        compile_constraint(Constraint("gbnf", "root ::= a"))


@pytest.fixture(scope="module")
def asked(smollm2: Path) -> Iterator[tuple[Model, Context]]:
    model = load_model(smollm2)
    context = Context(model, context=512, sequences=1, idle=0, batch=128, threads=THREADS)
    yield model, context
    context.close()


@pytest.mark.parametrize("name", ["person", "shapes", "allOf", "date-time", "pattern", "enum", "types", "tuple"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_is_held_to_the_schema(asked: tuple[Model, Context], name: str, temperature: float) -> None:
    model, context = asked
    vocabulary = model.vocabulary
    prompt = "<|im_start|>user\nAnswer with JSON about Marie Curie.<|im_end|>\n<|im_start|>assistant\n"
    tokens = vocabulary.tokenize(prompt, special=True)
    sampling = SamplingParams(temperature=temperature, seed=4).merge(DEFAULTS)
    grammar = Grammar(vocabulary, compile_json(SCHEMAS[name]))
    sampler = Sampler(sampling, tokens, vocabulary=vocabulary.size, longest=512, grammar=grammar)
    context.cut(0, 0)
    reply, rows, ended = b"", tokens, False
    while len(tokens) < 400 and not ended:
        context.batch.clear()
        row = context.batch.add(rows, len(tokens) - len(rows), 0, logits=True)
        assert context.decode() is DecodeStatus.DONE
        token = sampler.sample(context, row)
        ended = vocabulary.is_end(token)
        reply += vocabulary.piece(token)
        tokens, rows = [*tokens, token], [token]
    sampler.close()
    assert ended, reply
    assert valid(json.loads(reply), SCHEMAS[name], SCHEMAS[name]), reply
