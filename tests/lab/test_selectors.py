"""Choosing by log-probability, by a pattern, by a reward model and by a command."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selector_harness import QUESTION, candidate, notes, replies, scores

from lmlab.backends import EventSink, LoadSpec, Question, Rank
from lmlab.backends.fake import FakeBackend
from lmlab.errors import ContextOverflow, EngineStopped, LmlabError, UsageError
from lmlab.lab.best_of import Candidate, Choice, Selector
from lmlab.lab.selectors.command import CommandSelector
from lmlab.lab.selectors.likelihood import LogprobSelector
from lmlab.lab.selectors.pattern import RegexSelector
from lmlab.lab.selectors.reward import RewardSelector
from lmlab.lab.selectors.shell import KEPT, Shell

posix = pytest.mark.skipif(sys.platform == "win32", reason="written for sh")
# A pattern and a text on which Python's re does not end in a lifetime.
HOPELESS, ENDLESS = "(a+)+$", "a" * 60 + "b"


# By log-probability


def by_logprob(*pool: Candidate) -> Choice:
    return LogprobSelector().choose(QUESTION, pool)


def test_the_most_probable_is_kept_and_each_has_its_score() -> None:
    choice = by_logprob(candidate(0, "a", -0.9), candidate(1, "b", -0.1), candidate(2, "c", -0.5))
    assert choice.selected == 1
    assert scores(choice) == [-0.9, -0.1, -0.5]
    assert choice.why == "the highest mean log-probability of 3: -0.100"


def test_half_a_reply_is_no_answer_however_probable() -> None:
    cut, whole = candidate(0, "a", -0.1, reason="length"), candidate(1, "b", -3.0)
    assert by_logprob(cut, whole).selected == 1
    assert by_logprob(cut, whole).why == "the only one of 2 that is whole"
    assert by_logprob(cut, candidate(1, "b", -3.0, reason="context")).selected == 0
    choice = by_logprob(cut, whole, candidate(2, "c", -2.5))
    assert (choice.selected, choice.why) == (2, "the highest mean log-probability of the 2 of 3 that are whole: -2.500")


def test_an_empty_reply_comes_last() -> None:
    choice = by_logprob(candidate(0, " \n", -0.1), candidate(1, "b", -3.0, reason="length"))
    assert (choice.selected, choice.why) == (1, "the only one of 2 that is not empty")
    assert by_logprob(candidate(0, "", -0.5), candidate(1, "", -0.1)).selected == 1


def test_equals_keep_their_order() -> None:
    assert by_logprob(candidate(1), candidate(0)).selected == 0


def test_candidates_are_given_back_in_the_order_of_their_indices() -> None:
    choice = by_logprob(candidate(2, "c"), candidate(0, "a", reason="cancelled"), candidate(1, "b"))
    assert [one.index for one in choice.candidates] == [0, 1, 2]
    assert (choice.selected, choice.saved) == (1, 1)


def test_log_probabilities_that_nobody_knows_are_said_to_be_missing() -> None:
    choice = by_logprob(candidate(0, "a", None), candidate(1, "b", None))
    assert (choice.selected, choice.why) == (0, "no log-probabilities are known: the first")


def test_one_candidate_is_the_choice() -> None:
    assert by_logprob(candidate(0)).why == "the only candidate"


def test_only_a_vote_can_be_settled_early() -> None:
    selector = LogprobSelector()
    assert not selector.settled(replies("a", "a"), 3)
    assert selector.settled(replies("a", "a"), 2)


# By a pattern


@pytest.fixture
def opened() -> Iterator[list[Selector]]:
    """Selectors to be closed in the end."""
    selectors: list[Selector] = []
    yield selectors
    for selector in selectors:
        selector.close()


def by_pattern(opened: list[Selector], pattern: str, limit_s: float = 60.0) -> RegexSelector:
    opened.append(selector := RegexSelector(pattern, limit_s))
    return selector


def test_the_most_probable_match_is_kept(opened: list[Selector]) -> None:
    choice = by_pattern(opened, r"\d+").choose(QUESTION, replies("none", "4 é", "42"))
    assert (choice.selected, choice.selector) == (1, r"regex:\d+")
    assert scores(choice) == [0.0, 1.0, 1.0]
    assert choice.why == "the pattern is in 2 of 3: the most probable of them"


def test_no_match_is_said(opened: list[Selector]) -> None:
    choice = by_pattern(opened, "x").choose(QUESTION, replies("a", "", "a"))
    assert (choice.selected, scores(choice)) == (0, [0.0, 0.0, 0.0])
    assert choice.why == "the pattern is in none of 3: the most probable"


def test_a_match_that_a_limit_cut_beats_a_finished_reply_without_one(opened: list[Selector]) -> None:
    pool = [candidate(0, "no"), candidate(1, "yes", reason="length")]
    assert by_pattern(opened, "yes").choose(QUESTION, pool).selected == 1


def test_the_pattern_sees_whole_texts_of_any_size_and_kind(opened: list[Selector]) -> None:
    selector = by_pattern(opened, r"\Aé(?s:.*)\nend\Z")
    texts = ["é" + "x" * 300_000 + "\r\n\nend", "é\nend ", "\ud800\nend"]
    assert scores(selector.choose(QUESTION, replies(*texts))) == [1.0, 0.0, 0.0]


def test_a_search_that_would_never_end_is_ended_and_the_others_go_on(opened: list[Selector]) -> None:
    selector = by_pattern(opened, HOPELESS, 1.0)
    choice = selector.choose(QUESTION, replies(ENDLESS, "aaa", "b"))
    assert choice.selected == 1
    assert notes(choice)[0] == "the search took over 1 s and was ended"
    assert notes(choice)[1] == ""
    assert choice.why == "the pattern is in 1 of 3, 1 could not be searched in time"


def test_closing_ends_a_search_under_way(opened: list[Selector]) -> None:
    selector = by_pattern(opened, HOPELESS)
    selector.choose(QUESTION, replies("a"))
    failures: list[LmlabError] = []

    def choose() -> None:
        try:
            selector.choose(QUESTION, replies(ENDLESS))
        except LmlabError as error:
            failures.append(error)

    waiting = threading.Thread(target=choose)
    waiting.start()
    selector.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert [str(failure) for failure in failures] == ["the selector was closed"]


def test_threads_may_share_a_pattern(opened: list[Selector]) -> None:
    selector = by_pattern(opened, "7")
    found: list[list[float | None]] = []
    threads = [
        threading.Thread(target=lambda: found.append(scores(selector.choose(QUESTION, replies("7", "8")))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [[1.0, 0.0]] * 4


# By a reward model


@pytest.fixture
def ranker() -> FakeBackend:
    return FakeBackend(LoadSpec("reward.gguf", rank=True), lambda status: None, auto=True)


def test_the_highest_reward_is_kept_and_equal_texts_are_scored_once(ranker: FakeBackend) -> None:
    choice = RewardSelector("reward:r", ranker).choose(QUESTION, replies("aa", "aaaa", "aa"))
    assert choice.selected == 1
    assert scores(choice) == [2.0, 4.0, 2.0]
    assert choice.why == "the highest reward of 3: 4.000"
    (question,) = ranker.questions
    assert isinstance(question, Rank)
    assert [(pair.question, pair.answer) for pair in question.pairs] == [
        (QUESTION.messages, "aa"),
        (QUESTION.messages, "aaaa"),
    ]


class ShortSighted(FakeBackend):
    """A reward model that refuses whatever has ``long`` in it."""

    def ask(self, command: Question, sink: EventSink) -> None:
        assert isinstance(command, Rank)
        long = any(pair.answer == "long" for pair in command.pairs)
        self.ask_error = ContextOverflow(9000, 8192) if long else None
        super().ask(command, sink)


def test_a_candidate_too_long_for_the_reward_model_keeps_no_other_from_its_score() -> None:
    ranker = ShortSighted(LoadSpec("reward.gguf", rank=True), lambda status: None, auto=True)
    choice = RewardSelector("reward:r", ranker).choose(QUESTION, replies("long", "short"))
    assert (choice.selected, scores(choice)) == (1, [None, 5.0])
    assert notes(choice)[0].startswith("not scored: the prompt has 9,000 tokens")


@pytest.mark.parametrize("error", [ContextOverflow(9000, 8192), EngineStopped("the engine stopped")])
def test_what_is_true_of_all_candidates_is_raised(ranker: FakeBackend, error: LmlabError) -> None:
    ranker.ask_error = error
    with pytest.raises(type(error)):
        RewardSelector("reward:r", ranker).choose(QUESTION, replies("a", "b"))


def test_a_reward_that_is_no_number_is_no_score(ranker: FakeBackend) -> None:
    ranker.scores = lambda rank: [float("nan")] * len(rank.pairs)
    choice = RewardSelector("reward:r", ranker).choose(QUESTION, replies("a", "b"))
    assert (choice.selected, choice.why) == (0, "the reward model gave no numbers: the most probable")
    assert notes(choice)[0] == "the reward model gave no number: nan"


# By a command


def by_command(opened: list[Selector], command: str, limit_s: float = 60.0) -> CommandSelector:
    opened.append(selector := CommandSelector(command, limit_s))
    return selector


def python(script: Path, code: str) -> str:
    script.write_text(code, encoding="utf-8")
    return f'"{sys.executable}" -I "{script}"'


def test_the_exit_code_is_the_score(opened: list[Selector], tmp_path: Path) -> None:
    command = python(tmp_path / "check.py", "import sys\nsys.exit('é' not in sys.stdin.buffer.read().decode('utf-8'))")
    choice = by_command(opened, command).choose(QUESTION, replies("no", "sí, é", "no"))
    assert choice.selected == 1
    assert scores(choice) == [0.0, 1.0, 0.0]
    assert choice.why == "the command passed 1 of 3"
    assert notes(choice) == ["exit code 1", "", "exit code 1"]


def test_the_number_on_the_last_line_is_the_score(opened: list[Selector], tmp_path: Path) -> None:
    command = python(
        tmp_path / "length.py", "import sys\nprint('length:')\nprint(-len(sys.stdin.read()), end='\\n\\n')"
    )
    choice = by_command(opened, command).choose(QUESTION, replies("aaa", "a", "aa"))
    assert scores(choice) == [-3.0, -1.0, -2.0]
    assert (choice.selected, choice.why) == (1, "the highest score of 3: -1")


def test_beside_numbers_a_mere_success_is_no_score(opened: list[Selector], tmp_path: Path) -> None:
    command = python(tmp_path / "some.py", "import sys\nif 'n' in sys.stdin.read(): print(-250)")
    choice = by_command(opened, command).choose(QUESTION, replies("a", "n"))
    assert (choice.selected, scores(choice)) == (1, [None, -250.0])
    assert notes(choice) == ["exit code 0, printed no number", ""]


@pytest.mark.parametrize("printed", ["nan", "inf", "3 passed"])
def test_what_is_no_finite_number_is_no_score(opened: list[Selector], tmp_path: Path, printed: str) -> None:
    command = python(tmp_path / "odd.py", f"print({printed!r})")
    assert scores(by_command(opened, command).choose(QUESTION, replies("a"))) == [1.0]


def test_the_candidate_is_told_in_the_environment(
    opened: list[Selector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMLAB_ANSWER", "of something around")
    command = python(
        tmp_path / "told.py",
        "import os, sys\n"
        "sys.stderr.write(' '.join([os.environ['LMLAB_CANDIDATE'], os.environ.get('LMLAB_ANSWER', 'none'), os.getcwd()]))",
    )
    pool = [candidate(0, "a", answer="42"), candidate(3, "b"), candidate(4, "c", answer="x" * 40_000)]
    choice = by_command(opened, command).choose(QUESTION, pool)
    assert notes(choice) == [f"0 42 {os.getcwd()}", f"3 none {os.getcwd()}", f"4 none {os.getcwd()}"]


def test_the_last_line_of_errors_is_the_note(opened: list[Selector], tmp_path: Path) -> None:
    command = python(
        tmp_path / "bad.py", "import sys\nsys.stderr.write('first\\nAssertionError: \\x1b[31m2 != 3\\n')\nsys.exit(3)"
    )
    (note,) = notes(by_command(opened, command).choose(QUESTION, replies("a")))
    assert note == "exit code 3: AssertionError: ␛[31m2 != 3"


def test_each_different_text_is_run_once(opened: list[Selector], tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = python(tmp_path / "count.py", f"with open({str(log)!r}, 'a') as log: log.write('x')")
    assert scores(by_command(opened, command).choose(QUESTION, replies("a", "a", "b"))) == [1.0] * 3
    assert log.read_text() == "xx"


def test_a_command_that_reads_and_prints_what_it_likes_does_not_hang(opened: list[Selector], tmp_path: Path) -> None:
    command = python(
        tmp_path / "loud.py", "import sys\nfor _ in range(300): sys.stdout.write('x' * 10_000)\nprint()\nprint(7)"
    )
    assert scores(by_command(opened, command).choose(QUESTION, replies("a" * 1_000_000))) == [7.0]


def test_no_more_than_the_end_of_the_output_is_kept(tmp_path: Path) -> None:
    command = python(tmp_path / "loud.py", "import sys\nsys.stdout.write('x' * 1_000_000)")
    assert len(Shell(command, 60).run("", {}).stdout) == KEPT


def test_one_that_takes_too_long_has_failed(opened: list[Selector], tmp_path: Path) -> None:
    command = python(tmp_path / "slow.py", "import sys, time\nif 'wait' in sys.stdin.read(): time.sleep(600)")
    choice = by_command(opened, command, 2.0).choose(QUESTION, replies("wait", "a"))
    assert (choice.selected, scores(choice)) == (1, [0.0, 1.0])
    assert notes(choice)[0] == "took over 2 s and was ended"


@posix
def test_what_a_command_left_running_is_ended_with_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    # Both hold the pipe open until they end; the shell waits for the first only.
    outcome = Shell(f"exec 9>'{pipe}'; sleep 600 & echo 5", 60).run("", {})
    assert (outcome.code, outcome.stdout.strip()) == (0, "5")
    assert os.read(reader, 1) == b""
    os.close(reader)


@posix
def test_time_up_ends_the_whole_group(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    assert Shell(f"exec 9>'{pipe}'; (sleep 600; true) | cat", 0.5).run("", {}).code is None
    assert os.read(reader, 1) == b""
    os.close(reader)


@posix
def test_a_command_killed_by_a_signal_has_failed(opened: list[Selector]) -> None:
    choice = by_command(opened, "kill -9 $$").choose(QUESTION, replies("a"))
    assert (scores(choice), notes(choice)) == ([0.0], ["ended by signal 9"])
    assert choice.why == "the command failed"


@posix
def test_a_command_that_is_not_there_is_no_score(opened: list[Selector], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no-such-command-here.*append \|\| exit 1"):
        by_command(opened, "no-such-command-here").choose(QUESTION, replies("a", "b"))
    (tmp_path / "no-program").write_text("true")
    with pytest.raises(UsageError, match="exit code 126"):
        by_command(opened, f"'{tmp_path}/no-program'").choose(QUESTION, replies("a", "b"))


@posix
def test_pipes_and_variables_are_the_shells(opened: list[Selector]) -> None:
    choice = by_command(opened, "tr a-z A-Z | grep -c B").choose(QUESTION, replies("abc", "xyz"))
    assert scores(choice) == [1.0, 0.0]


def test_closing_ends_the_commands_that_run(opened: list[Selector], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    selector = by_command(
        opened, python(tmp_path / "slow.py", f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(600)")
    )
    failures: list[LmlabError] = []

    def choose() -> None:
        try:
            selector.choose(QUESTION, replies("a", "b", "c", "d", "e", "f", "g"))
        except LmlabError as error:
            failures.append(error)

    waiting = threading.Thread(target=choose)
    waiting.start()
    while not begun.exists():
        threading.Event().wait(0.01)
    selector.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert [str(failure) for failure in failures] == ["the selector was closed"]
    with pytest.raises(LmlabError, match="closed"):
        selector.choose(QUESTION, replies("a"))


def test_nothing_can_be_chosen_when_every_candidate_failed(opened: list[Selector], ranker: FakeBackend) -> None:
    pool = [candidate(0, reason="error"), candidate(1, reason="cancelled")]
    selectors: list[Selector] = [
        LogprobSelector(),
        RewardSelector("reward:r", ranker),
        by_pattern(opened, "a"),
        by_command(opened, "true"),
    ]
    for selector in selectors:
        with pytest.raises(LmlabError, match="none of 2 candidates came to its end"):
            selector.choose(QUESTION, pool)
