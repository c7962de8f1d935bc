from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chat_harness import Desk, model_file

from lmlab.backends import ChatPrompt, Message
from lmlab.backends.fake import FakeCandidate
from lmlab.errors import SamplingError, UsageError
from lmlab.lab import slash
from lmlab.lab.slash import COMMANDS, SlashResult, is_command, run
from lmlab.sampling import BY_NAME, SamplingParams
from lmlab.settings import Config


def test_a_line_that_begins_with_a_slash_is_a_command() -> None:
    assert [is_command(line) for line in ("/help", "//x", "/", "x /help", " /help", "")] == [True] * 3 + [False] * 3


def test_set_alone_lists_every_parameter_with_its_origin_and_why_it_may_do_nothing(desk: Desk) -> None:
    desk.open()
    desk.chat.set_sampling("temperature", 0)
    assert run(desk.chat, "/set").lines == (
        "temperature        0.00       set",
        "top-k              20         from the model; no effect at temperature 0",
        "top-p              0.95       default; no effect at temperature 0",
        "min-p              0.05       default; no effect at temperature 0",
        "repeat-penalty     1.00       default",
        "repeat-last-n      64         default; no penalty is on",
        "presence-penalty   0.00       default",
        "frequency-penalty  0.00       default",
        "seed               random     default; no effect at temperature 0",
        "max-tokens         no limit   default",
        "stop               none       default",
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/set temperature 0.2", SamplingParams(temperature=0.2)),
        ("/set temp=0.2", SamplingParams(temperature=0.2)),
        ("/set temp = 0.2", SamplingParams(temperature=0.2)),
        ("/set TOP-P  0.5", SamplingParams(top_p=0.5)),
        ("/set top_k 0", SamplingParams(top_k=0)),
        ("/set n 20", SamplingParams(max_tokens=20)),
        ("/set n-predict 20", SamplingParams(max_tokens=20)),
        ("/set seed 0", SamplingParams(seed=0)),
        ("/set stop END", SamplingParams(stop=("END",))),
        (r'/set stop "\nUser:" "a b" \t', SamplingParams(stop=("\nUser:", "a b", "\t"))),
        (r"/set stop \\n \d", SamplingParams(stop=("\\n", "\\d"))),
        ("/set stop #", SamplingParams(stop=("#",))),
    ],
)
def test_set_understands_the_names_people_use(desk: Desk, line: str, expected: SamplingParams) -> None:
    run(desk.chat, line)
    assert desk.chat.asked == expected


def test_set_shows_what_is_in_force_after_it(desk: Desk) -> None:
    assert run(desk.chat, "/set top-p 0.5") == SlashResult(("top-p              0.50       set",))
    assert run(desk.chat, "/set top-p").lines == ("top-p              0.50       set",)
    assert run(desk.chat, "/set top-p unset").lines == ("top-p              0.95       default",)
    assert run(desk.chat, r'/set stop "\nUser:" é').lines == (r'stop               "\nUser:" "é" set',)
    assert run(desk.chat, "/set stop unset").lines == ("stop               none       default",)
    assert run(desk.chat, "/set seed -1").lines == ("seed               random     set",)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/set temperature -1", "temperature -1.0: give a number from 0 to 100"),
        ("/set top-p two", "top-p 'two': give a number from 0 to 1"),
        ("/set temprature 1", "no sampling parameter is called 'temprature': did you mean temperature?"),
        ("/set xyz 1", "no sampling parameter is called 'xyz': there are temperature, top-k"),
        ('/set stop "open', "stop: a quote is not closed"),
        ('/set stop ""', "stop: give a text that is not empty"),
    ],
)
def test_set_refuses_what_is_wrong_and_changes_nothing(desk: Desk, line: str, problem: str) -> None:
    with pytest.raises(SamplingError) as caught:
        run(desk.chat, line)
    assert str(caught.value).startswith(problem)
    assert desk.chat.asked == SamplingParams()


def test_every_parameter_can_be_set_by_its_shown_name(desk: Desk) -> None:
    for line in run(desk.chat, "/set").lines:
        name = line.split()[0].replace("-", "_")
        assert name in BY_NAME or name == "stop"


def test_system(desk: Desk) -> None:
    assert run(desk.chat, "/system").lines == ("there is no system prompt",)
    assert run(desk.chat, "/system Be brief.\nAlways.").lines == ("system prompt: Be brief.\nAlways.",)
    assert desk.chat.system == "Be brief.\nAlways."
    assert run(desk.chat, "/system -").lines == ("there is no system prompt",)
    assert desk.chat.system is None


def test_model(desk: Desk) -> None:
    assert run(desk.chat, "/model").lines[0].startswith("no model is open; /model REF opens one")
    assert run(desk.chat, "/model fake") == SlashResult(action="model")
    desk.settle()
    path = desk.models["fake"].path  # type: ignore[union-attr]
    assert run(desk.chat, "/model").lines == (f"fake: {path}", "135M Q4_0")
    desk.backends[0].ready()
    assert run(desk.chat, "/model").lines == (f"fake: {path}", "135M Q4_0, context 8,192 of 8,192 tokens")


def test_stats(desk: Desk) -> None:
    with pytest.raises(UsageError, match="no model is loaded yet"):
        run(desk.chat, "/stats")
    desk.open("fake")
    lines = run(desk.chat, "/stats").lines
    assert lines[0].startswith("context 8,192 tokens, up to 8 sequences at once")
    assert "KV cache f16 (K) and f16 (V), reuse: full" in lines[1]
    assert "weights 1 MB (mapped from the file)" in lines[2]
    before = len(lines)
    desk.chat.send("Hello")
    desk.backends[0].finish()
    assert run(desk.chat, "/stats").lines[before].startswith("latest reply: 10 prompt tokens, 0 cached; 4 drawn")


def test_a_model_that_is_a_path_is_named_once(desk: Desk) -> None:
    path = str(model_file("own").path)
    desk.models[path] = replace(model_file("own"), ref=path)
    desk.open(path)
    assert run(desk.chat, "/model").lines[0] == path


def test_read(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "my notes.txt").write_text("one two")
    assert run(desk.chat, f'/read "{tmp_path / "my notes.txt"}"').lines == (
        "my notes.txt, 7 characters, goes with your next message",
    )
    assert [file.name for file in desk.chat.attachments] == ["my notes.txt"]
    assert run(desk.chat, f"/read {tmp_path / 'my notes.txt'}").lines == (
        "my notes.txt, 7 characters, is attached already, and has not changed",
    )
    (tmp_path / "my notes.txt").write_text("two one")
    run(desk.chat, f"/read {tmp_path / 'my notes.txt'}")
    listed = "  my notes.txt, 7 characters"
    assert run(desk.chat, "/read").lines == ("with your next message go:", listed, listed)
    assert run(desk.chat, "/read -").lines == ("no file goes with your next message",)
    assert run(desk.chat, "/read").lines == ("no file goes with your next message",)
    assert desk.chat.attachments == ()


def test_regen(auto: Desk) -> None:
    auto.open()
    auto.chat.send("Hi")
    assert run(auto.chat, "/regen") == SlashResult(action="resent")
    assert len(auto.backends[0].requests) == 2


def test_save(auto: Desk, tmp_path: Path) -> None:
    auto.open()
    auto.chat.send("Hi")
    file = tmp_path / "my chat.md"
    assert run(auto.chat, f"/save {file}").lines == (f"saved to {file}",)
    with pytest.raises(UsageError, match="exists: choose another name, or put --overwrite after it"):
        run(auto.chat, f"/save {file}")
    assert run(auto.chat, f"/save {file} --overwrite").lines == (f"saved to {file}",)
    with pytest.raises(UsageError, match="/save needs a file"):
        run(auto.chat, "/save")


def test_session_and_clear_say_how_to_come_back(auto: Desk) -> None:
    assert run(auto.chat, "/session").lines == (f"nothing was said yet; sessions are kept in {auto.store.file}",)
    assert run(auto.chat, "/clear") == SlashResult(("a new session",), "cleared")
    auto.open()
    auto.chat.send("Hi")
    assert auto.chat.session is not None
    name = auto.chat.session.id
    assert run(auto.chat, "/session").lines == (
        f"session {name}: Hi",
        f"kept in {auto.store.file}",
        f"go on with it later: lmlab chat --session {name}",
    )
    cleared = run(auto.chat, "/clear")
    assert cleared == SlashResult((f"a new session; the old one is kept: lmlab chat --session {name}",), "cleared")
    assert auto.chat.session is None


def test_clear_says_that_the_system_prompt_stays(desk: Desk) -> None:
    desk.chat = desk.make_chat(config=Config(system="Be\nbrief."))
    stays = 'the system prompt stays: "Be brief."; /system - drops it'
    assert run(desk.chat, "/clear").lines == ("a new session", stays)
    run(desk.chat, "/system -")
    assert run(desk.chat, "/clear").lines == ("a new session",)


@pytest.mark.parametrize("line", ["/bye", "/exit", "/quit", "/QUIT", "/bye "])
def test_leaving(desk: Desk, line: str) -> None:
    assert run(desk.chat, line) == SlashResult(action="quit")


def test_help_has_a_line_for_each_command(desk: Desk) -> None:
    result = run(desk.chat, "/help")
    assert result.action == "help"
    assert [line.split()[0] for line in result.lines] == [*(f"/{command.names[0]}" for command in COMMANDS), "//TEXT"]
    assert run(desk.chat, "/help /exit").lines == ("/bye", "Leave.", "also /exit, /quit", "for example: /bye")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.names[0])
def test_the_example_of_each_command_is_that_command(command: slash.Command) -> None:
    name = command.example.split()[0].removeprefix("/")
    assert slash.find(name) is command
    assert command.help.endswith(".")


def test_two_slashes_send_a_message_that_begins_with_one(auto: Desk) -> None:
    backend = auto.open()
    assert run(auto.chat, "//etc/hosts is\nwhat?") == SlashResult(action="sent")
    assert backend.requests[0].prompt == ChatPrompt((Message("user", "/etc/hosts is\nwhat?"),))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/hepl", "no command is called /hepl: did you mean /help? (// sends a message"),
        ("/etc/hosts is what?", "no command is called /etc/hosts: /help lists the commands (// sends a message"),
        ("/", "no command is called /: /help lists the commands"),
        ("/\x1b[31m", "no command is called /␛[31m: /help lists"),
        ("/help nothing", "no command is called /nothing"),
        ("/clear all", "/clear takes no arguments"),
        ("/regen now", "/regen takes no arguments"),
        ("/bye bye", "/bye takes no arguments"),
        ("/session x", "/session takes no arguments"),
    ],
)
def test_what_is_no_command_is_told(desk: Desk, line: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(desk.chat, line)
    assert str(caught.value).startswith(problem)


def drawn(desk: Desk, *texts: str) -> None:
    """Open a model and have it draw candidates with these texts, the second the most probable."""
    desk.open()
    desk.chat.set_best_of(len(texts))
    logprobs = [-1.0, -0.25, -2.0, -3.0]
    desk.backends[0].script_candidates(
        FakeCandidate(text, logprob=logprob) for text, logprob in zip(texts, logprobs, strict=False)
    )
    desk.chat.send("How many?")
    desk.backends[0].finish()


def test_best_of(desk: Desk) -> None:
    one = ("one reply is drawn; /best-of N draws N and keeps the best",)
    assert run(desk.chat, "/best-of").lines == one
    assert run(desk.chat, "/best-of 5").lines == ("best of 5, chosen by logprob",)
    assert run(desk.chat, "/best-of 1").lines == one
    run(desk.chat, "/best-of 5")
    assert run(desk.chat, "/best-of OFF").lines == one
    assert desk.chat.best_of == 1
    for wrong in ("0", "65", "-2", "many", "2.5"):
        with pytest.raises(UsageError, match="give a whole number from 1 to 64"):
            run(desk.chat, f"/best-of {wrong}")


def test_more_candidates_than_the_model_decodes_at_once_is_said(desk: Desk) -> None:
    desk.open()
    assert run(desk.chat, "/best-of 8").lines == ("best of 8, chosen by logprob",)
    assert run(desk.chat, "/best-of 12").lines == (
        "best of 12, chosen by logprob",
        "fake was loaded for 8 at once, the others wait for their turn: /model fake loads it for 12",
    )


def test_select(desk: Desk) -> None:
    assert run(desk.chat, "/select vote").lines == (
        "vote chooses, once there is something to choose from: /best-of N draws N candidates",
    )
    run(desk.chat, "/best-of 3")
    assert run(desk.chat, "/select").lines == (
        "best of 3, chosen by vote",
        "there are logprob, vote, judge[:MODEL], reward:MODEL, regex:PATTERN or command:CMD",
    )
    assert run(desk.chat, "/select regex:^a b$").lines == ("best of 3, chosen by regex:^a b$",)
    with pytest.raises(UsageError, match="did you mean vote"):
        run(desk.chat, "/select votes")
    assert str(desk.chat.selector) == "regex:^a b$"


def test_stats_say_how_replies_are_drawn(desk: Desk) -> None:
    desk.open()
    run(desk.chat, "/best-of 3")
    assert "best of 3, chosen by logprob" in run(desk.chat, "/stats").lines


def test_candidates_are_listed_with_what_was_said_of_them(desk: Desk) -> None:
    with pytest.raises(UsageError, match="there is no reply yet"):
        run(desk.chat, "/candidates")
    drawn(desk, "It is 41", "It is\n42", "x" * 80)
    assert run(desk.chat, "/candidates").lines == (
        "   1  candidate 1 of 3 · score -1",
        '      "It is 41"',
        "›  2  candidate 2 of 3 · chosen by logprob · score -0.25",
        '      "It is 42"',
        "   3  candidate 3 of 3 · score -2",
        f'      "{"x" * 59}…"',
        "/candidates K goes on from another",
    )


def test_going_on_from_another_candidate(desk: Desk) -> None:
    drawn(desk, "It is 41", "It is 42")
    assert run(desk.chat, "/candidate 1") == SlashResult(("going on from reply 1 of 2",), "moved")
    assert desk.chat.turns[-1].content == "It is 41"
    assert [line[:1] for line in run(desk.chat, "/candidates").lines[:4:2]] == ["›", " "]
    for wrong in ("0", "3", "one"):
        with pytest.raises(UsageError, match="give a number from 1 to 2"):
            run(desk.chat, f"/candidates {wrong}")


def test_a_regenerated_reply_is_listed_beside_the_first(desk: Desk) -> None:
    drawn(desk, "It is 41")
    desk.chat.regenerate()
    assert run(desk.chat, "/candidates").lines[:4] == (
        "   1  a reply drawn alone",
        '      "It is 41"',
        "›  2  a reply drawn alone · not ended",
        '      ""',
    )
    with pytest.raises(UsageError, match="a reply is under way"):
        run(desk.chat, "/candidates 1")
