"""Every error lmlab raises on purpose, as one tree.

::

    LmlabError                    the message is one line and says what to do next
    ├── UsageError                what was typed is wrong (exit code 2)
    │   ├── SamplingError         a sampling parameter is out of its range
    │   └── ConstraintError       a grammar or JSON Schema that no reply can be held to
    ├── ModelError                a model cannot be used
    │   ├── ModelNotFound         nothing by that name or path
    │   ├── ModelFileError        the file is not a complete, sane GGUF
    │   ├── DownloadError         fetching it failed
    │   └── ModelLoadError        llama.cpp refused to load it
    ├── PromptError               the prompt cannot be sent as it is
    │   ├── ContextOverflow       longer than the context; carries both numbers
    │   └── TemplateError         the model's chat template failed; carries its line
    ├── EngineStopped             the worker process ended; says why
    └── StoreError                sessions could not be read or written

Instances cross the process boundary by pickle, so each is rebuilt from ``args`` alone.
"""

from __future__ import annotations


class LmlabError(Exception):
    """Base of the tree. ``str(error)`` is one line for a person; ``exit_code`` is the program's."""

    exit_code = 1


class UsageError(LmlabError):
    exit_code = 2


class SamplingError(UsageError):
    pass


class ConstraintError(UsageError):
    pass


class ModelError(LmlabError):
    pass


class ModelNotFound(ModelError):
    pass


class ModelFileError(ModelError):
    pass


class DownloadError(ModelError):
    pass


class ModelLoadError(ModelError):
    pass


class PromptError(LmlabError):
    pass


class ContextOverflow(PromptError):
    """The prompt has ``prompt_tokens`` tokens; at most ``limit`` fit, leaving room for one token of reply."""

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(prompt_tokens, limit)
        self.prompt_tokens = prompt_tokens
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the prompt has {self.prompt_tokens:,} tokens and the context holds {self.limit:,}: "
            "shorten it, or make the context larger with --ctx-size (0 is all the model was trained for)"
        )


class TemplateError(PromptError):
    pass


class EngineStopped(LmlabError):
    pass


class StoreError(LmlabError):
    pass
