"""A GGUF loaded by llama.cpp, and its vocabulary."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import llama_cpp

from lmlab.errors import ModelLoadError


class Vocabulary:
    """Text to token ids and back. Safe to use from any thread while the model lives."""

    def __init__(self, model_pointer: object) -> None:
        self.pointer = llama_cpp.llama_model_get_vocab(model_pointer)
        # A file without a vocabulary can still count tokens; spelling or reading one of them ends the process.
        none = llama_cpp.llama_vocab_type(self.pointer) == llama_cpp.LLAMA_VOCAB_TYPE_NONE
        self.size = 0 if none else int(llama_cpp.llama_vocab_n_tokens(self.pointer))
        self.bos = int(llama_cpp.llama_vocab_bos(self.pointer))
        self.eos = int(llama_cpp.llama_vocab_eos(self.pointer))
        self.sep = int(llama_cpp.llama_vocab_sep(self.pointer))
        self.add_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.pointer))
        self.add_eos = bool(llama_cpp.llama_vocab_get_add_eos(self.pointer))
        self.add_sep = bool(llama_cpp.llama_vocab_get_add_sep(self.pointer))

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the ids of ``text``, no BOS added. ``special``: the text of a special token becomes that token."""
        data = text.encode("utf-8")
        room = len(data) + 8
        for _ in range(2):
            ids = (ctypes.c_int32 * room)()
            count = int(llama_cpp.llama_tokenize(self.pointer, data, len(data), ids, room, False, special))
            if count >= 0:
                return list(ids[:count])
            room = -count
        raise ValueError(f"llama.cpp could not tokenize a text of {len(data)} bytes")

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return the bytes of one token, possibly part of a character. A control token is empty unless ``special``."""
        self._check(token)
        # A buffer of its own for each call: prompts are encoded in one thread while replies are spelled in another.
        room = 64
        for _ in range(2):
            buffer = ctypes.create_string_buffer(room)
            length = int(llama_cpp.llama_token_to_piece(self.pointer, token, buffer, room, 0, special))
            if length >= 0:
                return buffer.raw[:length]
            room = -length
        raise ValueError(f"llama.cpp could not spell token {token}")

    def text(self, token: int) -> str:
        """Return the token as it stands in the vocabulary, or nothing for none (-1)."""
        if not 0 <= token < self.size:
            return ""
        return bytes(llama_cpp.llama_vocab_get_text(self.pointer, token)).decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends a generation."""
        self._check(token)
        return bool(llama_cpp.llama_vocab_is_eog(self.pointer, token))

    def _check(self, token: int) -> None:
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is not in a vocabulary of {self.size}")


class Model:
    """The weights. ``gpu_layers``: None is all that llama.cpp will put on a GPU. Raises ModelLoadError.

    ``progress`` gets the fraction read, 0 to 1, on the calling thread. ``mapped``: the weights are read from the file as
    needed, where the devices allow it; else they are read now, into memory of their own. ``measure``: no weights at all,
    and contexts of it are sized and logged but take no memory; nothing can be decoded.
    """

    def __init__(
        self,
        path: str,
        *,
        gpu_layers: int | None,
        progress: Callable[[float], None],
        mapped: bool = True,
        measure: bool = False,
    ) -> None:
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = -1 if gpu_layers is None else gpu_layers
        if measure or not mapped:
            parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        parameters.no_alloc = measure

        def proceed(fraction: float, _data: object) -> bool:
            progress(fraction)
            return True

        self._progress = llama_cpp.llama_progress_callback(proceed)
        parameters.progress_callback = self._progress
        self.pointer = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.pointer:
            raise ModelLoadError(f"llama.cpp could not load {path}")
        self.vocabulary = Vocabulary(self.pointer)

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(128)
        llama_cpp.llama_model_desc(self.pointer, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def parameters(self) -> int:
        return int(llama_cpp.llama_model_n_params(self.pointer))

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return int(llama_cpp.llama_model_size(self.pointer))

    @property
    def layers(self) -> int:
        return int(llama_cpp.llama_model_n_layer(self.pointer))

    @property
    def context_trained(self) -> int:
        return int(llama_cpp.llama_model_n_ctx_train(self.pointer))

    @property
    def head_sizes(self) -> tuple[int, int] | None:
        """Length of one attention head's key and value, or None when the file does not say, as without attention."""
        architecture = self.metadata("general.architecture")
        heads = int(llama_cpp.llama_model_n_head(self.pointer))
        usual = int(llama_cpp.llama_model_n_embd(self.pointer)) // heads if heads else 0
        sizes = [self.metadata(f"{architecture}.attention.{part}_length") for part in ("key", "value")]
        key, value = (int(size) if size is not None and size.isdecimal() else usual for size in sizes)
        return (key, value) if key and value else None

    @property
    def sliding_window(self) -> int:
        """Positions that sliding-window layers attend to; 0 when the model has none."""
        return int(llama_cpp.llama_model_n_swa(self.pointer))

    @property
    def recurrent(self) -> bool:
        """Whether some of its memory is a state that cannot be cut back to an earlier position."""
        return bool(llama_cpp.llama_model_is_recurrent(self.pointer) or llama_cpp.llama_model_is_hybrid(self.pointer))

    @property
    def generates(self) -> bool:
        """Whether it is a decoder that can continue a text; encoders and diffusion models are not."""
        return (
            bool(llama_cpp.llama_model_has_decoder(self.pointer))
            and not llama_cpp.llama_model_has_encoder(self.pointer)
            and not llama_cpp.llama_model_is_diffusion(self.pointer)
        )

    @property
    def causal(self) -> bool:
        """Whether its file lets each token look back only. Of a decoder made to give embeddings it says otherwise; else
        such a model looks like any other, and would draw from nothing."""
        architecture = self.metadata("general.architecture")
        return self.metadata(f"{architecture}.attention.causal") != "false"

    @property
    def chat_template(self) -> str | None:
        """The Jinja2 source in the file, or None for a base model. It can be a mere name, such as ``mistral-v7-tekken``."""
        source = llama_cpp.llama_model_chat_template(self.pointer, None)
        return bytes(source).decode("utf-8", "replace") if source else None

    @property
    def rank_template(self) -> str | None:
        """How a reranker wants a pair written, with ``{query}`` and ``{document}`` in it, or None."""
        source = llama_cpp.llama_model_chat_template(self.pointer, b"rerank")
        return bytes(source).decode("utf-8", "replace") if source else None

    @property
    def ranks(self) -> bool:
        """Whether its file says that it is for ranking."""
        architecture = self.metadata("general.architecture")
        return self.metadata(f"{architecture}.pooling_type") == str(llama_cpp.LLAMA_POOLING_TYPE_RANK)

    def metadata(self, key: str) -> str | None:
        """Return the value of a metadata key of the file as text, or None."""
        room = 256
        for _ in range(2):
            buffer = ctypes.create_string_buffer(room)
            length = int(llama_cpp.llama_model_meta_val_str(self.pointer, key.encode(), buffer, room))
            if length < 0:
                return None
            if length < room:
                return buffer.value.decode("utf-8", "replace")
            room = length + 1
        return None

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_model_free(self.pointer)
            self.pointer = None
